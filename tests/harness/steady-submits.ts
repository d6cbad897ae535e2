import { setTimeout as pause } from 'node:timers/promises'
import type { Client, SubmitOptions } from './rest-client.ts'

export type SubmitAnswer = {
  status: number
  jobId: string
  /** 0 where the answer names none. */
  retryAfterSeconds: number
  sentAtMs: number
  tookMs: number
}

/** A client that waits for so many answers sends no more. */
const unansweredMax = 40

/**
 * Submits at a steady rate, whatever is answered, until it is stopped. On a machine that cannot keep up, the
 * rate falls instead of the number of open requests growing.
 */
export function submitSteadily(client: Client, perSecond: number, options: SubmitOptions = {}) {
  const answers: SubmitAnswer[] = []
  const unanswered = new Set<Promise<void>>()
  let isStopped = false

  async function submit() {
    const sentAtMs = performance.now()
    const { status, jobId, headers } = await client.submit(options)
    const retryAfterSeconds = Number(headers.get('retry-after'))
    const tookMs = performance.now() - sentAtMs
    answers.push({ status, jobId, retryAfterSeconds, sentAtMs, tookMs })
  }

  async function submitAll() {
    while (!isStopped) {
      const one = submit().finally(() => unanswered.delete(one))
      unanswered.add(one)
      await pause(1_000 / perSecond) // The rate is the test; there is nothing to wait for.
      if (unanswered.size >= unansweredMax) await Promise.race(unanswered)
    }
    await Promise.all(unanswered)
  }
  const submitting = submitAll()
  submitting.catch(() => undefined) // `stop` tells it.

  return {
    answers,
    /** @throws Error when a submission got no answer at all */
    async stop() {
      isStopped = true
      await submitting
      return answers
    },
  }
}
