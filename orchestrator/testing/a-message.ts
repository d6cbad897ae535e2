import { type JobMessage, scaledTimings } from '@avatar/contracts'
import { aRender } from '@avatar/contracts/testing'
import type { Message, Rules } from '../src/decide.ts'

/** The messages about an attempt, which count only under its epoch. */
export const attemptMessages = [
  ...(['started', 'store', 'completed', 'verified', 'refused'] as const),
  ...(['failed', 'released', 'cancelled', 'attempt-lost', 'overdue'] as const),
] satisfies Extract<Message, { epoch: number }>['kind'][]

/** Whether a message of this kind is about an attempt. */
export const isAboutAttempt = (kind: JobMessage) => (attemptMessages as JobMessage[]).includes(kind)

/** What `decide` needs besides record and message. */
export const rules: Rules = {
  nowMs: 1_700_000_100_000,
  retentionMs: 6 * 3_600_000,
  minDeadlineSeconds: 600,
  timings: scaledTimings(1),
}
/** The worker of `aMessage`. */
export const worker = { id: 'w1', incarnation: 'i1' }

/** A message of any kind, about the first attempt; a test names only the fields that it is about. */
export function aMessage(
  kind: JobMessage,
  difference: { epoch?: number; code?: string; workerId?: string } = {},
): Message {
  return {
    kind,
    ...(isAboutAttempt(kind) ? { epoch: 1 } : {}),
    code: 'RENDER_FAILED',
    rendered: aRender(),
    workerId: worker.id,
    incarnation: worker.incarnation,
    secondsPerVideoSecond: 2,
    ...difference,
  } as Message // A message of each kind has these fields among others.
}
