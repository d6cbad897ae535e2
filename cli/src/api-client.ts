import { createHash, randomUUID } from 'node:crypto'
import { createWriteStream, openAsBlob } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { basename } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  acceptedSchema,
  envelopeOf,
  errorEnvelopeSchema,
  type HealthView,
  healthSchema,
  resultViewSchema,
  statusViewSchema,
} from '@avatar/contracts'
import { systemClock } from '@avatar/service-kit'
import type { z } from 'zod'
import { exitCodes, UserError } from './exit-codes.ts'

/** How long a 503, a 429 or a lost connection is tried again before the user is told. */
const patienceMs = 60_000
const retryEveryMs = 500
const answerWithinMs = 60_000
/** A submission is answered once all of it has arrived and been checked, a long source video too. */
const submissionWithinMs = 15 * 60_000

/** Paths of the files and texts of the fields, by their names in the API. */
export type Submission = {
  files: Readonly<Record<string, string>>
  fields: Readonly<Record<string, string>>
}

export type ApiClient = ReturnType<typeof createApiClient>

/** The REST API as the command line uses it. It waits through short outages of the system. */
export function createApiClient(url: string, key?: string) {
  /** @throws UserError when the API refuses, or cannot be reached for a minute */
  async function call<S extends z.ZodType>(
    path: string,
    data: S,
    request: () => Promise<RequestInit>,
    withinMs = answerWithinMs,
  ): Promise<z.output<ReturnType<typeof envelopeOf<S>>>> {
    const deadline = systemClock.monotonicMs() + patienceMs
    for (;;) {
      const answer = await tryOnce(path, await request(), withinMs)
      if (answer?.status === 503 || answer?.status === 429 || answer === undefined) {
        if (systemClock.monotonicMs() > deadline)
          throw new UserError(`${url} did not answer for a minute.`, exitCodes.unreachable)
        const retryAfterMs = Number(answer?.headers.get('retry-after') ?? 0) * 1000
        await systemClock.wait(Math.max(retryEveryMs, retryAfterMs))
        continue
      }
      const body: unknown = await answer.json().catch(() => undefined)
      if (!answer.ok) throw refusal(answer.status, body)
      const parsed = envelopeOf(data).safeParse(body)
      if (parsed.success) return parsed.data
      throw new UserError(`${url} answers, but not like this API; is the address right?`)
    }
  }

  async function tryOnce(
    path: string,
    init: RequestInit,
    withinMs = answerWithinMs,
  ): Promise<Response | undefined> {
    const headers = new Headers(init.headers)
    if (key) headers.set('authorization', `Bearer ${key}`)
    try {
      const signal = AbortSignal.timeout(withinMs)
      return await fetch(url + path, { ...init, headers, signal })
    } catch {
      return undefined
    }
  }

  const get = async () => ({})
  return {
    /** Submits one job: every try carries the same Idempotency-Key. */
    async generate(submission: Submission) {
      const idempotencyKey = randomUUID()
      const request = async () => ({
        method: 'POST',
        headers: { 'idempotency-key': idempotencyKey },
        body: await formOf(submission),
      })
      return call('/generate', acceptedSchema, request, submissionWithinMs)
    },
    status: async (jobId: string) => (await call(`/status/${jobId}`, statusViewSchema, get)).data,
    result: async (jobId: string) => (await call(`/result/${jobId}`, resultViewSchema, get)).data,
    /** Undefined when nothing answers. A 503 is an answer. */
    async health(): Promise<HealthView | undefined> {
      const answer = await tryOnce('/health', {})
      const body: unknown = await answer?.json().catch(() => undefined)
      return envelopeOf(healthSchema).safeParse(body).data?.data
    },
    /** Cancels a job; false when the API did not take the request. A job that has ended is fine. */
    async cancel(jobId: string): Promise<boolean> {
      const answer = await tryOnce(`/cancel/${jobId}`, { method: 'POST' })
      return answer !== undefined && answer.status !== 503
    },
  }
}

async function formOf({ files, fields }: Submission): Promise<FormData> {
  const form = new FormData()
  for (const [name, path] of Object.entries(files))
    form.set(name, await openAsBlob(path), basename(path))
  for (const [name, text] of Object.entries(fields)) form.set(name, text)
  return form
}

function refusal(status: number, body: unknown): UserError {
  const error = errorEnvelopeSchema.safeParse(body).data?.error
  const text = error ? `${error.message} (${error.code})` : `The API answered ${status}.`
  const isOurs = status >= 500
  return new UserError(text, isOurs ? exitCodes.failed : exitCodes.refused, !isOurs)
}

/**
 * Downloads a presigned URL beside `path`, and renames the file once its SHA-256 is right.
 *
 * @returns why that failed, if the store did not answer, or with something else; another try may help
 */
export async function download(
  url: string,
  path: string,
  sha256: string,
): Promise<string | undefined> {
  const partial = `${path}.${process.pid}.part`
  const hash = createHash('sha256')
  const hashing = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk)
      done(null, chunk)
    },
  })
  try {
    const answer = await fetch(url)
    if (!answer.ok || !answer.body) throw new Error(`it answered ${answer.status}`)
    await pipeline(Readable.fromWeb(answer.body), hashing, createWriteStream(partial))
    if (hash.digest('hex') !== sha256) throw new Error('what arrived was damaged')
    await rename(partial, path)
    return undefined
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return `The video could not be downloaded: ${reason}.`
  } finally {
    await rm(partial, { force: true })
  }
}
