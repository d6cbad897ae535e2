import { envelopeOf, resultViewSchema } from '@avatar/contracts'
import { presignVideo } from '@avatar/job-kit'
import { z } from 'zod'
import type { Api, AppDeps } from '../app-deps.ts'
import { getOwnJob } from '../own-job.ts'
import { requireResult, resultView } from '../views.ts'
import { failureAnswers, jobParamsSchema } from './answers.ts'

const querySchema = z.object({
  download: z
    .enum(['0', '1', 'false', 'true'])
    .default('0')
    .describe('`1` saves the video as a file instead of playing it'),
})

const failures = failureAnswers(
  'JOB_NOT_FOUND',
  'JOB_NOT_COMPLETED',
  'RESULT_DELETED',
  'INVALID_REQUEST',
)

/**
 * `GET /result/{job_id}`: fresh links to the video at the store's public address, which end with the
 * video. `GET` and `HEAD /result/{job_id}/video`: a redirect to the one that fits the request.
 */
export function routeResult(app: Api, deps: AppDeps) {
  /** The caller's video, and until when its links may work. */
  async function find(owner: string, jobId: string) {
    const job = await getOwnJob(deps, owner, jobId)
    const nowMs = deps.clock.nowMs()
    const result = requireResult(job, nowMs)
    return { job, result, when: { nowMs, maxSeconds: deps.config.RESULT_URL_TTL_SECONDS } }
  }

  app.get(
    '/result/:job_id',
    {
      schema: {
        operationId: 'getResult',
        summary: 'Links to the finished video',
        params: jobParamsSchema,
        response: {
          200: envelopeOf(resultViewSchema).describe('The video, and links to it.'),
          ...failures,
        },
      },
    },
    async (request) => {
      const { job, result, when } = await find(request.owner, request.params.job_id)
      const data = await resultView(deps.objects, job, result, when)
      return { data, meta: { request_id: request.id } }
    },
  )

  app.get(
    '/result/:job_id/video',
    {
      schema: {
        operationId: 'getVideo',
        summary: 'The finished video itself',
        params: jobParamsSchema,
        querystring: querySchema,
        response: {
          302: z.null().describe('`Location` is a link for the method of this request.'),
          ...failures,
        },
      },
    },
    async (request, reply) => {
      const { job, result, when } = await find(request.owner, request.params.job_id)
      const disposition = ['1', 'true'].includes(request.query.download) ? 'attachment' : 'inline'
      const method = request.method === 'HEAD' ? 'HEAD' : 'GET'
      const location = await presignVideo(deps.objects, job, result, { method, disposition }, when)
      // The link expires, so the redirect must not outlive it in a cache.
      return reply.header('cache-control', 'no-store').redirect(location)
    },
  )
}
