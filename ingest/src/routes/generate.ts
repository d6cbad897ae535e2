import { randomUUID } from 'node:crypto'
import {
  acceptedSchema,
  envelopeOf,
  jobKey,
  limits,
  type Status,
  spanAttributes,
  spanNames,
  stateTable,
} from '@avatar/contracts'
import { AppError, jobTraceparent, withSpan } from '@avatar/service-kit'
import type { FastifyRequest } from 'fastify'
import { v5 as uuidv5 } from 'uuid'
import type { Api, AppDeps } from '../app-deps.ts'
import { fieldRefused } from '../field-refused.ts'
import { hangUpSignal } from '../hang-up.ts'
import { inputMedia } from '../input-media.ts'
import { estimatedCostView } from '../money.ts'
import { textPartNames } from '../submission-fields.ts'
import { readUpload, requireMultipart } from '../upload.ts'
import { instant, linksOf, toTenths } from '../views.ts'
import { failureAnswers } from './answers.ts'

/** The UUID namespace in which an owner and an Idempotency-Key give the job id. It must never change. */
const jobIdNamespace = '6f5cbb5e-4d0b-4b7c-9d51-6a8c0f2f7a10'

const uploadFailures = [
  'IMAGE_MISSING',
  'AUDIO_MISSING',
  'INVALID_IMAGE_FORMAT',
  'IMAGE_UNREADABLE',
  'IMAGE_DIMENSIONS',
  'INVALID_VIDEO_FORMAT',
  'VIDEO_UNREADABLE',
  'VIDEO_TOO_LONG',
  'INVALID_AUDIO_FORMAT',
  'AUDIO_UNREADABLE',
  'AUDIO_EMPTY',
  'AUDIO_TOO_LONG',
  'INVALID_REQUEST',
  'MALFORMED_MULTIPART',
  'IMAGE_TOO_LARGE',
  'AUDIO_TOO_LARGE',
  'VIDEO_TOO_LARGE',
  'BODY_TOO_LARGE',
  'REQUEST_TIMEOUT',
  'UNSUPPORTED_MEDIA_TYPE',
  'IDEMPOTENCY_KEY_REUSED',
  'NOT_OFFERED',
  'STORE_UNAVAILABLE',
  'STORAGE_FULL',
  'TOO_MANY_JOBS',
  'GPU_SECONDS_EXHAUSTED',
  'BUDGET_EXHAUSTED',
  'QUEUE_FULL',
  'SERVICE_BUDGET_EXHAUSTED',
] as const

/** `POST /generate`: takes a portrait and a voice, and answers once the job exists. */
export function routeGenerate(app: Api, deps: AppDeps) {
  app.post(
    '/generate',
    {
      config: { isSubmit: true },
      onRequest: async (request) => {
        refuseTooLarge(request)
        requireMultipart(request)
        refuseFieldsInUrl(request)
      },
      schema: {
        operationId: 'generate',
        summary: 'Submit a portrait and a voice recording',
        description:
          'multipart/form-data with the files `image` (PNG or JPEG, at most 10 MB) and `audio` ' +
          '(WAV or MP3, at most 50 MB and 5 minutes); instead of an image a `video` to dub, and ' +
          'optionally `audio2` of a second speaker, or a `voice` that drives the lips. All other fields ' +
          'are optional, each by itself or as members of one JSON object in the part `metadata`. ' +
          'With an `Idempotency-Key` header the same request again answers with the same job.',
        consumes: ['multipart/form-data'],
        response: {
          200: envelopeOf(acceptedSchema).describe('The same request came before: the same job.'),
          201: envelopeOf(acceptedSchema).describe('The job exists; `Location` names its status.'),
          ...failureAnswers(...uploadFailures),
        },
      },
    },
    async (request, reply) => {
      const { owner, trace } = request
      const signal = hangUpSignal(reply)
      const key = request.headers['idempotency-key']
      const jobId = jobIdOf(owner, key)
      const isIdFresh = key === undefined
      request.span?.set({ [spanAttributes.jobId]: jobId })
      // Before the body is read; a repeated request finds its job, whatever is used up meanwhile.
      const refusal = deps.quotas.refusalOf(owner)
      if (refusal && (isIdFresh || !(await deps.records.find(jobKey(owner, jobId))))) throw refusal
      const admitted = await deps.spool.withFolder(async (folder) => {
        const bytes = Number(request.headers['content-length']) || undefined
        const { fields, ...media } = await withSpan(
          spanNames.readUpload,
          { [spanAttributes.bytes]: bytes },
          () => readUpload(request, folder, deps.timings),
        )
        const { traceparent } = trace
        const { prompt, seed, priority, ...options } = fields
        const text = { prompt, seed, priority, options }
        const sent = { ...media, ...text, traceparent, folder, signal }
        return deps.admit({ jobId, isIdFresh, owner, door: 'rest', ...sent })
      })
      const { job, isNew } = admitted
      // Its trace is that of the request that made it.
      if (!isNew) request.span?.link(jobTraceparent(job))
      request.log.info({ jobId, attempt: job.epoch, owner, isNew }, 'job accepted')
      const links = linksOf(jobId, deps.config)
      return reply
        .code(isNew ? 201 : 200)
        .header('location', links.status)
        .send({
          data: {
            job_id: jobId,
            status: stateTable[job.state].status as Status,
            audio_seconds: job.audio.seconds,
            estimated_seconds: toTenths(job.estimatedSeconds),
            estimated_completion_at: instant(
              isNew
                ? job.told?.completesAtMs
                : deps.estimates.completesAtMs(job, deps.clock.nowMs()),
            ),
            estimated_cost: estimatedCostView(job, deps.config),
            links,
          },
          meta: {
            request_id: request.id,
            ...(job.warnings ? { warnings: job.warnings } : {}),
          },
        })
    },
  )
}

/** The same owner and key always give the same job. A quoted key equals a bare one. */
function jobIdOf(owner: string, header: string | string[] | undefined): string {
  if (header === undefined) return randomUUID()
  const key = String(header).replace(/^"(.*)"$/, '$1')
  if (key.length === 0 || key.length > limits.idempotencyKeyMaxCharacters)
    throw fieldRefused(
      'Idempotency-Key',
      `must have 1 to ${limits.idempotencyKeyMaxCharacters} characters`,
    )
  return uuidv5(`${owner}\n${key}`, jobIdNamespace)
}

/** Refuses fields in the URL. To ignore them would make another video than the caller meant. */
function refuseFieldsInUrl({ query }: FastifyRequest) {
  const field = [...textPartNames, ...Object.keys(inputMedia)].find((name) =>
    Object.hasOwn(Object(query), name),
  )
  if (field !== undefined)
    throw fieldRefused(field, 'send it as a part of the form, not in the URL')
}

/** Refuses an announced length that is too much, before a byte is read. */
function refuseTooLarge(request: FastifyRequest) {
  const announced = Number(request.headers['content-length'] ?? 0)
  if (announced > limits.bodyMaxBytes)
    throw new AppError('BODY_TOO_LARGE', { details: { max_bytes: limits.bodyMaxBytes } })
}
