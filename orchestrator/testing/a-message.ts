import { type JobMessage, scaledTimings, type Turn, type Used } from '@avatar/contracts'
import { aRender } from '@avatar/contracts/testing'
import type { Message, Rules } from '../src/states/decide.ts'

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
/** The worker that claims by `aMessage`. */
export const worker = { id: 'w1', incarnation: 'i1', ask: 'a1', pool: 'l40s', priceMicros: 530 }

/** A message of any kind, about the first attempt; a test names only the fields that it is about. */
export function aMessage(
  kind: JobMessage,
  difference: {
    epoch?: number
    code?: string
    message?: string
    ask?: string
    used?: Used | undefined
    estimatedSeconds?: number
    turn?: Turn
  } = {},
): Message {
  return {
    kind,
    ...(isAboutAttempt(kind) ? { epoch: 1 } : {}),
    code: 'RENDER_FAILED',
    message: 'boom',
    rendered: aRender(),
    workerId: worker.id,
    incarnation: worker.incarnation,
    ask: worker.ask,
    pool: worker.pool,
    priceMicros: worker.priceMicros,
    turn: { start: 0, seconds: 8 },
    estimatedSeconds: 8,
    ...difference,
  } as Message // A message of each kind has these fields among others.
}
