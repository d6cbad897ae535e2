import { randomUUID } from 'node:crypto'
import { until } from '@avatar/service-kit/testing'
import type { Client, SubmitOptions } from './rest-client.ts'
import type { System } from './system.ts'

const submittersAtOnce = 8

/** Submits jobs, several at a time, and returns their ids. */
export async function submitMany(
  client: Client,
  count: number,
  options: SubmitOptions = {},
): Promise<string[]> {
  const jobIds: string[] = []
  let left = count
  const submitter = async () => {
    while (left-- > 0) {
      // A busy machine may let a submission wait too long for the broker.
      const idempotencyKey = randomUUID()
      jobIds.push(await client.submitUntilAccepted({ idempotencyKey, ...options }))
    }
  }
  await Promise.all(Array.from({ length: submittersAtOnce }, submitter))
  return jobIds
}

/**
 * Keeps this many workers busy, one job of a fresh owner on each, until the returned function is called:
 * what is submitted meanwhile waits, and its order does not depend on who was quicker.
 */
export async function holdWorkers(system: System, workers = 1): Promise<() => Promise<void>> {
  const holder = system.clientWith(await system.createKey('holder'))
  const jobIds = await submitMany(holder, workers, { prompt: 'null:seconds=3600' })
  for (const jobId of jobIds) await holder.untilView(jobId, ({ stage }) => stage === 'rendering')
  return async () => {
    for (const jobId of jobIds) await holder.cancel(jobId)
  }
}

/** Cancels jobs, and returns when all of them have ended. */
export async function cancelMany(client: Client, jobIds: readonly string[]): Promise<void> {
  const left = [...jobIds]
  const canceller = async () => {
    for (let jobId = left.pop(); jobId !== undefined; jobId = left.pop()) await client.cancel(jobId)
  }
  await Promise.all(Array.from({ length: submittersAtOnce }, canceller))
  for (const jobId of jobIds)
    await until(async () => (await client.status(jobId)).finished_at, {
      what: 'the end of a cancelled job',
    })
}
