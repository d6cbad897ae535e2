import { randomUUID } from 'node:crypto'
import { acceptedSchema, envelopeOf, limits, type Status, stateTable } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { FastifyRequest } from 'fastify'
import { v5 as uuidv5 } from 'uuid'
import type { Api, AppDeps } from '../app-deps.ts'
import { readUpload } from '../upload.ts'
import { linksOf, toTenths } from '../views.ts'
import { failureAnswers } from './answers.ts'

/** The UUID namespace in which an owner and an Idempotency-Key give the job id. It must never change. */
const jobIdNamespace = '6f5cbb5e-4d0b-4b7c-9d51-6a8c0f2f7a10'

const uploadFailures = [
  'IMAGE_MISSING',
  'AUDIO_MISSING',
  'INVALID_IMAGE_FORMAT',
  'IMAGE_UNREADABLE',
  'IMAGE_DIMENSIONS',
  'INVALID_AUDIO_FORMAT',
  'AUDIO_UNREADABLE',
  'AUDIO_EMPTY',
  'AUDIO_TOO_LONG',
  'INVALID_REQUEST',
  'MALFORMED_MULTIPART',
  'IMAGE_TOO_LARGE',
  'AUDIO_TOO_LARGE',
  'BODY_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'IDEMPOTENCY_KEY_REUSED',
  'STORE_UNAVAILABLE',
  'STORAGE_FULL',
] as const

/** `POST /generate`: takes a portrait and a voice, and answers once the job exists. */
export function routeGenerate(app: Api, deps: AppDeps) {
  app.post(
    '/generate',
    {
      onRequest: async (request) => refuseTooLarge(request),
      schema: {
        operationId: 'generate',
        summary: 'Submit a portrait and a voice recording',
        description:
          'multipart/form-data with the files `image` (PNG or JPEG, at most 10 MB) and `audio` ' +
          '(WAV or MP3, at most 50 MB and 5 minutes), and optionally `prompt` and `seed`. ' +
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
      const jobId = jobIdOf(owner, request.headers['idempotency-key'])
      const admitted = await deps.spool.withFolder(async (folder) => {
        const { fields, ...media } = await readUpload(request, folder)
        const { traceparent } = trace
        return deps.admit({ jobId, owner, door: 'rest', ...media, ...fields, traceparent, folder })
      })
      const { job, isNew, warnings } = admitted
      request.log.info({ jobId, attempt: job.epoch, isNew }, 'job accepted')
      return reply
        .code(isNew ? 201 : 200)
        .header('location', `/status/${jobId}`)
        .send({
          data: {
            job_id: jobId,
            status: stateTable[job.state].status as Status,
            audio_seconds: job.audio.seconds,
            estimated_seconds: toTenths(job.estimatedSeconds),
            links: linksOf(jobId),
          },
          meta: {
            request_id: request.id,
            ...(warnings.length > 0 ? { warnings: [...warnings] } : {}),
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
    throw new AppError('INVALID_REQUEST', {
      details: {
        field: 'Idempotency-Key',
        problem: `1 to ${limits.idempotencyKeyMaxCharacters} characters`,
      },
    })
  return uuidv5(`${owner}\n${key}`, jobIdNamespace)
}

/** Refuses an announced length that is too much even to drain, before a byte is read. */
function refuseTooLarge(request: FastifyRequest) {
  const announced = Number(request.headers['content-length'] ?? 0)
  if (announced > limits.drainMaxBytes)
    throw new AppError('BODY_TOO_LARGE', { details: { max_bytes: limits.bodyMaxBytes } })
}
