import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  acceptedSchema,
  envelopeOf,
  intakePrefix,
  isTerminal,
  jobStateSchema,
  type StatusView,
  statusViewSchema,
} from '@avatar/contracts'
import { type Bus, systemClock as clock, type ObjectStore } from '@avatar/service-kit'
import type { Accepted, Sighting } from './judge.ts'
import type { Media } from './media.ts'
import type { ChaosPlan, PlannedJob } from './plan.ts'

/** The publisher at the event door. */
export const publisher = 'chaos'

const tryAgainMs = 300
/** A client that waits longer for an answer gives up and asks again. */
const answerWithinMs = 15_000
const lookEveryMs = 250
/** The system could not answer: a suspended one finds the request too old, a busy one asks to wait. */
const saysNothing: ReadonlySet<number> = new Set([408, 429])

export type Key = { key: string; owner: string }

/** What the clients of a run know at its end. */
export type Driven = {
  accepted: readonly Accepted[]
  sightings: readonly Sighting[]
  foreignAnswers: readonly { jobId: string; status: number }[]
  /** The names of the submissions that the broker has stored; their ids are in their records. */
  published: readonly string[]
}

/** In these stages a view tells how far the attempt is. It says nothing of one that is being given up. */
const tellingStages: ReadonlySet<string> = new Set(['rendering', 'storing', 'completed'])

/** A front door that has just started says 0 % of a render until it hears the worker's next heartbeat. */
function toldProgress({ stage, progress }: StatusView): number | undefined {
  return tellingStages.has(stage) && progress > 0 ? progress : undefined
}

type Deps = {
  url: string
  keys: readonly Key[]
  media: Media
  bus: Bus
  objects: ObjectStore
  /** A folder for files on their way. */
  folder: string
  signal: AbortSignal
}

/**
 * The clients of a run: they submit, repeat, cancel and watch their jobs as planned, and repeat whatever
 * was not answered until it is. The signal ends it early.
 */
export function driveJobs(plan: ChaosPlan, deps: Deps) {
  const { url, keys, media, bus, objects, folder, signal } = deps
  const accepted: Accepted[] = []
  const sightings: Sighting[] = []
  const foreignAnswers: { jobId: string; status: number }[] = []
  const published: string[] = []
  const over = new Set<string>()
  const watching = new AbortController()
  const startedAtMs = clock.monotonicMs()

  async function send(path: string, key: string, init: RequestInit = {}) {
    const headers = { ...init.headers, authorization: `Bearer ${key}` }
    try {
      const answer = await fetch(url + path, {
        ...init,
        headers,
        signal: AbortSignal.any([signal, AbortSignal.timeout(answerWithinMs)]),
      })
      const body: unknown = await answer.json()
      return { status: answer.status, body }
    } catch {
      return undefined // It did not answer: the system is in trouble, as planned.
    }
  }

  /** Repeats until there is something, or the run ends. */
  async function insist<T>(attempt: () => Promise<T | undefined>): Promise<T | undefined> {
    while (!signal.aborted) {
      const done = await attempt().catch(() => undefined)
      if (done !== undefined) return done
      await clock.wait(tryAgainMs, signal)
    }
    return undefined
  }

  async function submit(job: PlannedJob, { key, owner }: Key): Promise<string | undefined> {
    const jobId = await insist(async () => {
      const form = new FormData()
      form.set('image', new Blob([media.image]), 'face.jpg')
      form.set('audio', new Blob([media.audio]), 'voice.wav')
      form.set('prompt', job.prompt)
      const init = { method: 'POST', body: form, headers: { 'idempotency-key': job.name } }
      const answer = await send('/generate', key, init)
      return envelopeOf(acceptedSchema).safeParse(answer?.body).data?.data.job_id
    })
    if (jobId !== undefined) accepted.push({ jobId, owner, name: job.name })
    return jobId
  }

  async function publish(job: PlannedJob) {
    const prefix = `${intakePrefix(publisher)}${job.name}/`
    const [image_key, audio_key] = [`${prefix}face.jpg`, `${prefix}voice.wav`]
    await insist(() => put(image_key, media.image))
    await insist(() => put(audio_key, media.audio))
    const { name, prompt } = job
    const event = { image_key, audio_key, prompt, idempotency_key: name, reference: name }
    const subject = `intake.${publisher}.job.submitted`
    for (let copy = 0; copy < job.copies; copy++)
      await insist(() => bus.publish(subject, event, { timeoutMs: answerWithinMs }))
    if (!signal.aborted) published.push(name)
  }

  async function put(key: string, content: Buffer) {
    const path = join(folder, key.replaceAll('/', '-'))
    await writeFile(path, content)
    const sha256 = createHash('sha256').update(content).digest('hex')
    await objects.putFile(key, path, content.length, sha256)
    return true
  }

  async function run(job: PlannedJob) {
    await clock.wait(job.atMs - (clock.monotonicMs() - startedAtMs), signal)
    if (signal.aborted) return
    if (job.door === 'event') return publish(job)
    const owner = keys[job.owner]
    if (!owner) throw new Error(`the plan names key ${job.owner}`)
    const copies = Array.from({ length: job.copies }, () => submit(job, owner))
    const [jobId] = await Promise.all(copies)
    if (jobId === undefined || job.cancelAfterMs === undefined) return
    await clock.wait(job.cancelAfterMs, signal)
    await insist(async () => {
      const answer = await send(`/cancel/${jobId}`, owner.key, { method: 'POST' })
      return answer && answer.status < 500 ? answer : undefined
    })
  }

  /** Looks at one job after the other, now and then with the key of somebody else. */
  async function watch() {
    for (let turn = 0; !watching.signal.aborted; turn++) {
      await clock.wait(lookEveryMs, watching.signal)
      const jobs = accepted.filter(({ jobId }) => !over.has(jobId))
      const job = jobs[turn % Math.max(1, jobs.length)]
      if (!job) continue
      const its = keys.find(({ owner }) => owner === job.owner)?.key ?? ''
      const view = await sightingOf(job.jobId, its)
      if (view) sightings.push(view)
      if (view?.isOver) over.add(job.jobId)
      const stranger = keys.find(({ owner }) => owner !== job.owner)
      if (!stranger) continue
      const answer = await send(`/status/${job.jobId}`, stranger.key)
      if (answer && !saysNothing.has(answer.status) && answer.status < 500)
        foreignAnswers.push({ jobId: job.jobId, status: answer.status })
    }
  }

  async function sightingOf(jobId: string, key: string): Promise<Sighting | undefined> {
    const answer = await send(`/status/${jobId}`, key)
    const view = envelopeOf(statusViewSchema).safeParse(answer?.body).data?.data
    if (!view) return undefined
    const state = jobStateSchema.safeParse(view.status).data
    const isOver = state !== undefined && isTerminal({ state })
    return { jobId, attempt: view.attempt, progress: toldProgress(view), isOver }
  }

  const watched = watch()
  return {
    /** Resolves once every planned submission was accepted and every cancellation answered. */
    submitted: Promise.all(plan.jobs.map(run)).then(() => undefined),
    /** Ends the watch. */
    async stop(): Promise<Driven> {
      watching.abort()
      await watched
      return { accepted, sightings, foreignAnswers, published }
    },
  }
}
