import { acceptedSchema, type EventOf, eventSchemas, statusViewSchema } from '@avatar/contracts'
import { z } from 'zod'
import { type System, until } from '../../tests/harness/index.ts'
import { watchCores } from './busy-cores.ts'
import { watchProcessorTime } from './processor-time.ts'
import type { multipart, Sender } from './requests.ts'
import { gapsBetween } from './statistics.ts'

/** What an answer has under `data`. */
export const dataOf = <S extends z.ZodType>(body: string, schema: S): z.output<S> =>
  schema.parse(z.object({ data: z.unknown() }).parse(JSON.parse(body)).data)

type Body = ReturnType<typeof multipart>

/** Submits one job. @throws Error when it is not accepted */
export async function submit(sender: Sender, body: Body): Promise<{ jobId: string; ms: number }> {
  const answer = await sender.send('POST', '/generate', body)
  if (answer.status !== 201) throw new Error(`the API answered ${answer.status}: ${answer.body}`)
  return { jobId: dataOf(answer.body, acceptedSchema).job_id, ms: answer.ms }
}

export async function statusOf(sender: Sender, jobId: string) {
  const answer = await sender.send('GET', `/status/${jobId}`)
  if (answer.status !== 200) throw new Error(`the API answered ${answer.status}: ${answer.body}`)
  return { view: dataOf(answer.body, statusViewSchema), ms: answer.ms }
}

/** Calls `count` times, one call after the other, and returns the time that each took. */
export async function timesOf(count: number, call: () => Promise<{ ms: number }>) {
  const times: number[] = []
  for (let done = 0; done < count; done++) times.push((await call()).ms)
  return times
}

/** Runs one job while the system has no other; the times are those of the services' clocks. */
export async function oneJobAlone(system: System, sender: Sender, body: Body) {
  const { jobId } = await submit(sender, body)
  const view = await untilCompleted(sender, jobId)
  const render = await renderOf(system, jobId)
  return {
    toRenderStartMs: render.renderStartedAtMs - Date.parse(view.created_at),
    toCompletedMs: Date.parse(view.finished_at ?? '') - render.renderEndedAtMs,
  }
}

/** @throws Error when the job does not complete */
export async function untilCompleted(sender: Sender, jobId: string) {
  return until(
    async () => {
      const seen = (await statusOf(sender, jobId)).view
      if (seen.status === 'failed') throw new Error(JSON.stringify(seen.error))
      return seen.status === 'completed' && seen
    },
    { timeoutMs: 120_000, everyMs: 20, what: 'a completed job' },
  )
}

/** What the worker told at the end of a job's render. */
export async function renderOf(
  system: System,
  jobId: string,
): Promise<EventOf<'render.completed'>> {
  const facts = await (await system.broker()).factsOf(jobId)
  return eventSchemas['render.completed'].parse(
    facts.find(({ type }) => type === 'render.completed'),
  )
}

/** Keeps the worker busy with a job that does not end; the returned function cancels it. */
export async function keepWorkerBusy(sender: Sender, endless: Body): Promise<() => Promise<void>> {
  const { jobId } = await submit(sender, endless)
  await until(async () => (await statusOf(sender, jobId)).view.stage === 'rendering', {
    timeoutMs: 60_000,
    what: 'a busy worker',
  })
  return async () => {
    await sender.send('POST', `/cancel/${jobId}`)
  }
}

/** Queues `count` jobs behind a blocker, then lets one worker drain them: its pace and its pauses. */
export async function drainBacklog(
  system: System,
  sender: Sender,
  bodies: { job: Body; blocker: Body },
  count: number,
) {
  const releaseWorker = await keepWorkerBusy(sender, bodies.blocker)
  const queueingSinceMs = performance.now()
  const jobIds = await submitMany(sender, bodies.job, count)
  const queuedMs = performance.now() - queueingSinceMs

  const processorTime = await watchProcessorTime(system)
  const drainingSinceMs = performance.now()
  const drainCores = watchCores()
  await releaseWorker()
  const last = jobIds.at(-1) ?? ''
  await until(async () => (await statusOf(sender, last)).view.finished_at !== null, {
    timeoutMs: 15 * 60_000,
    everyMs: 200,
    what: 'an empty queue',
  })
  const drainedMs = performance.now() - drainingSinceMs
  const busyCores = drainCores()
  const processorMs = processorTime()
  const views = await Promise.all(jobIds.map(async (id) => (await statusOf(sender, id)).view))
  const failed = views.filter(({ status }) => status !== 'completed')
  if (failed.length > 0) throw new Error(`${failed.length} jobs did not complete`)

  const renders: EventOf<'render.completed'>[] = []
  for (const id of jobIds) renders.push(await renderOf(system, id))
  const spans = renders.map((one) => ({
    startMs: one.renderStartedAtMs,
    endMs: one.renderEndedAtMs,
  }))
  return {
    submitsPerSecond: count / (queuedMs / 1000),
    busyCores,
    processorMs,
    jobsPerSecond: count / (drainedMs / 1000),
    gapsMs: gapsBetween(spans),
    rendersMs: spans.map(({ startMs, endMs }) => endMs - startMs),
  }
}

const submittersAtOnce = 8

export async function submitMany(sender: Sender, body: Body, count: number): Promise<string[]> {
  const jobIds: string[] = []
  let left = count
  const submitter = async () => {
    while (left-- > 0) jobIds.push((await submit(sender, body)).jobId)
  }
  await Promise.all(Array.from({ length: submittersAtOnce }, submitter))
  return jobIds
}
