import { createHash } from 'node:crypto'
import { type EventOf, jobPrefix, limits, type StatusView } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import { expect } from 'vitest'
import type { Client } from './rest-client.ts'
import type { System } from './system.ts'

type OnceOptions = {
  /** The attempt that must have made the video; by default any. */
  attempt?: number
  /** The owner's client; by default the system's own. */
  client?: Client
}

/**
 * Waits until a job has ended, and expects that it was completed exactly once: exactly one event ends
 * it, one video is stored, that video is the one that the event and the API name, every epoch was started
 * at most once and booked once, in the record and in the ledger, and the owner pays for one attempt.
 */
export async function expectCompletedOnce(
  system: System,
  jobId: string,
  { attempt, client = system.client }: OnceOptions = {},
): Promise<StatusView> {
  const view = await client.untilEnded(jobId, 'completed')
  const broker = await system.broker()
  const factsOf = async () => (await broker.factsOf(jobId)).filter(isEnd)
  // The record is written before the event is published; a crash in between delays the event.
  const [completed, ...more] = await until(
    async () => {
      const facts = await factsOf()
      return facts.length > 0 && facts
    },
    { what: `the event that ends ${jobId}` },
  )
  expect(more, `further ends of ${jobId}`).toEqual([])
  if (completed?.type !== 'job.completed') throw new Error(`${jobId}: ${completed?.type}`)
  expect(completed.epoch).toBe(view.attempt)
  if (attempt !== undefined) expect(view.attempt, `attempts of ${jobId}`).toBe(attempt)
  await expectOneVideo(system, client, completed)
  await expectEpochsOnce(system, jobId, view.attempt)
  await expectBookedOnce(system, jobId, view.attempt)
  return view
}

/** Expects the same of many jobs. The error names the job. */
export async function expectAllCompletedOnce(
  system: System,
  jobIds: readonly string[],
  options: OnceOptions = {},
): Promise<StatusView[]> {
  expect(new Set(jobIds).size).toBe(jobIds.length)
  const views: StatusView[] = []
  for (const jobId of jobIds) views.push(await expectCompletedOnce(system, jobId, options))
  return views
}

async function expectOneVideo(system: System, client: Client, fact: EventOf<'job.completed'>) {
  const { jobId } = fact
  const store = await system.store()
  expect(await store.keys(`${jobPrefix(jobId)}out/`), `videos of ${jobId}`).toEqual([
    fact.result.key,
  ])
  const video = await client.download(jobId)
  expect(createHash('sha256').update(video).digest('hex')).toBe(fact.result.sha256)
}

async function expectEpochsOnce(system: System, jobId: string, attempts: number) {
  const facts = await (await system.broker()).factsOf(jobId)
  const started = facts.filter(({ type }) => type === 'render.started').map(({ epoch }) => epoch)
  expect(new Set(started).size, `epochs started of ${jobId}: ${started}`).toBe(started.length)
  expect(Math.max(...facts.map(({ epoch }) => epoch))).toBe(attempts)
}

async function expectBookedOnce(system: System, jobId: string, attempts: number) {
  const broker = await system.broker()
  const record = await broker.recordOf(jobId)
  if (!record) throw new Error(`${jobId} has no record`)
  const epochs = (record.spent ?? []).map(({ epoch }) => epoch)
  const expected = Array.from({ length: attempts }, (_, index) => index + 1)
  expect(epochs, `booked attempts of ${jobId}`).toEqual(expected.slice(-limits.attemptsBooked))
  const [posting, ...more] = await until(
    async () => {
      const postings = await broker.postingsOf(jobId)
      return postings.length > 0 && postings
    },
    { what: `the posting of ${jobId}` },
  )
  expect(more, `further postings of ${jobId}`).toEqual([])
  expect(posting?.attempts).toEqual(record.spent)
  const charged = (record.spent ?? []).filter(({ isCharged }) => isCharged)
  expect(charged.map(({ epoch }) => epoch)).toEqual([attempts])
}

function isEnd({ type }: { type: string }): boolean {
  return type === 'job.completed' || type === 'job.failed' || type === 'job.cancelled'
}
