import {
  type ErrorEnvelope,
  envelopeOf,
  errorEnvelopeSchema,
  healthSchema,
  jobsPageSchema,
  type Priority,
  resultViewSchema,
  type Status,
  type StatusView,
  statusViewSchema,
  terminalStates,
  usageViewSchema,
} from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import { z } from 'zod'
import { portrait, voice } from './media.ts'

export type Answer = { status: number; headers: Headers; body: unknown }
export type Submitted = Answer & { jobId: string; error: ErrorEnvelope['error'] | undefined }

export type SubmitOptions = {
  image?: Buffer
  audio?: Buffer
  /** Seconds of audio, if none is given. */
  seconds?: number
  prompt?: string
  priority?: Priority
  idempotencyKey?: string
  headers?: Record<string, string>
}

/** A call that takes longer counts as hanging. */
const callWithinMs = 60_000

export type Client = ReturnType<typeof createClient>

/** The public REST API with one key. Every answer is checked against the contracts. */
export function createClient(url: string, key: string) {
  async function send(path: string, init: RequestInit = {}): Promise<Answer> {
    const headers = new Headers(init.headers)
    if (key) headers.set('authorization', `Bearer ${key}`)
    const answer = await fetch(url + path, {
      ...init,
      headers,
      signal: AbortSignal.timeout(callWithinMs),
    })
    return { status: answer.status, headers: answer.headers, body: await answer.json() }
  }

  async function get<S extends z.ZodType>(path: string, schema: S): Promise<z.output<S>> {
    const answer = await send(path)
    if (answer.status !== 200) throw new Error(`${path} → ${JSON.stringify(answer.body)}`)
    return schema.parse(z.object({ data: z.unknown() }).parse(answer.body).data)
  }

  /** Submits a job and returns whatever the answer is. */
  async function submit(options: SubmitOptions = {}): Promise<Submitted> {
    const { image = portrait(), audio = voice({ seconds: options.seconds ?? 1 }) } = options
    const { prompt, priority, idempotencyKey } = options
    const fields = {
      ...(prompt !== undefined && { prompt }),
      ...(priority && { priority }),
    }
    const headers = {
      ...options.headers,
      ...(idempotencyKey && { 'idempotency-key': idempotencyKey }),
    }
    return submitParts({ image, audio }, fields, headers)
  }

  /** Submits these files and fields, by their names in the API. */
  async function submitParts(
    files: Readonly<Record<string, Buffer>>,
    fields: Readonly<Record<string, string>>,
    headers: Record<string, string> = {},
  ): Promise<Submitted> {
    const form = new FormData()
    for (const [name, content] of Object.entries(files))
      form.set(name, new Blob([new Uint8Array(content)]), name)
    for (const [name, text] of Object.entries(fields)) form.set(name, text)
    const answer = await send('/generate', { method: 'POST', body: form, headers })
    const error = errorEnvelopeSchema.safeParse(answer.body).data?.error
    const { data } = answer.body as { data?: { job_id?: string } } // Only the id is looked at.
    return { ...answer, jobId: data?.job_id ?? '', error }
  }

  const status = (jobId: string) => get(`/status/${jobId}`, statusViewSchema)
  return {
    send,
    submit,
    submitParts,
    status,
    result: (jobId: string) => get(`/result/${jobId}`, resultViewSchema),
    /** The newest hundred jobs. */
    jobs: () => get('/jobs?limit=100', jobsPageSchema),
    /** The ids of all jobs, page by page. */
    async allJobs(): Promise<string[]> {
      const jobIds: string[] = []
      for (let cursor: string | null = ''; cursor !== null; ) {
        const page: z.output<typeof jobsPageSchema> = await get(
          `/jobs?limit=100${cursor && `&cursor=${encodeURIComponent(cursor)}`}`,
          jobsPageSchema,
        )
        jobIds.push(...page.jobs.map(({ job_id }) => job_id))
        cursor = page.next_cursor
      }
      return jobIds
    },
    /** A 503 is an answer too. */
    health: async () => envelopeOf(healthSchema).parse((await send('/health')).body).data,
    /** The caller's limits, and what is used of them. */
    usage: () => get('/usage', usageViewSchema),
    cancel: (jobId: string) => send(`/cancel/${jobId}`, { method: 'POST' }),

    /** Submits again and again, with one Idempotency-Key, until the job is accepted. */
    async submitUntilAccepted(options: SubmitOptions & { idempotencyKey: string }) {
      const accepted = await until(
        async () => {
          const answer = await submit(options).catch(() => undefined)
          return answer && answer.status < 300 ? answer : undefined
        },
        { everyMs: 200, what: 'an accepted submission' },
      )
      return accepted.jobId
    },

    /** Polls a job until its view is as wanted; the API may be away meanwhile. */
    untilView(jobId: string, isWanted: (view: StatusView) => boolean, timeoutMs?: number) {
      let last: StatusView | undefined
      return until(
        async () => {
          last = (await status(jobId).catch(() => undefined)) ?? last
          return last && isWanted(last) ? last : undefined
        },
        // A look costs two processes 4 ms.
        {
          ...(timeoutMs && { timeoutMs }),
          everyMs: 50,
          slowestMs: 200,
          what: `job ${jobId} as wanted`,
        },
      ).catch((error: unknown) => {
        throw new Error(`the job was last seen as ${JSON.stringify(last)}`, { cause: error })
      })
    },

    /** Waits until a job has ended, which must be in this status. */
    async untilEnded(jobId: string, wanted: Status, timeoutMs?: number): Promise<StatusView> {
      const isOver = (view: StatusView) => (terminalStates as ReadonlySet<string>).has(view.status)
      const view = await this.untilView(jobId, isOver, timeoutMs)
      if (view.status !== wanted) throw new Error(`job ${jobId} ended as ${JSON.stringify(view)}`)
      return view
    },

    /** The video behind the result's presigned URL. A store that has just started may answer 500. */
    async download(jobId: string): Promise<Buffer> {
      const { url: source } = await this.result(jobId)
      const answer = await until(
        async () => {
          const found = await fetch(source, { signal: AbortSignal.timeout(callWithinMs) })
          return found.status < 500 && found
        },
        { everyMs: 200, what: 'an answer of the store' },
      )
      if (!answer.ok) throw new Error(`the download answered ${answer.status}`)
      return Buffer.from(await answer.arrayBuffer())
    },
  }
}
