import { setTimeout as pause } from 'node:timers/promises'
import { seededRandom } from '@avatar/service-kit/testing'
import type { Client } from './rest-client.ts'

export type RandomCancel = {
  jobId: string
  /** Whether its render never ends by itself. */
  isHanging: boolean
  sentAtMs: number
  /** The statuses of the answers: whoever is told that the system is busy asks again. */
  answers: number[]
}

type CancelOptions = { seed: number; cancels: number }

/** Jobs under way at once: one renders, the others wait, are fetched, or are stored. */
const lanes = 3
/** One render in so many hangs. */
const hangingEvery = 8
const askAgainMs = 500
const askedMax = 20
const prompt = 'null:prepared null:seconds=0.3'

/**
 * Submits jobs, several at a time, and cancels each after a random part of the time that such a job takes
 * from its acceptance to its end, or a little later. A render that hangs outlasts every moment.
 */
export async function cancelAtRandom(client: Client, { seed, cancels }: CancelOptions) {
  const random = seededRandom(seed)
  const plans = Array.from({ length: cancels }, () => ({
    part: random(1_250) / 1_000,
    isHanging: random(hangingEvery) === 0,
  }))
  const usualMs = Math.max(...(await Promise.all(Array.from({ length: lanes }, wholeLifeMs))))
  const done: RandomCancel[] = []

  async function wholeLifeMs(): Promise<number> {
    const { jobId } = await client.submit({ prompt })
    const acceptedAtMs = performance.now()
    await client.untilEnded(jobId, 'completed')
    return performance.now() - acceptedAtMs
  }

  async function lane() {
    for (let plan = plans.pop(); plan; plan = plans.pop()) {
      const { part, isHanging } = plan
      const { jobId } = await client.submit({ prompt: isHanging ? `${prompt} null:hang` : prompt })
      await pause(part * usualMs) // The random moment is the test; there is nothing to wait for.
      const sentAtMs = Date.now()
      const answers: number[] = []
      while (answers.length < askedMax && (answers.at(-1) ?? 503) === 503) {
        if (answers.length > 0) await pause(askAgainMs)
        answers.push((await client.cancel(jobId)).status)
      }
      done.push({ jobId, isHanging, sentAtMs, answers })
      await client.untilView(jobId, ({ finished_at }) => finished_at !== null)
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  return done
}
