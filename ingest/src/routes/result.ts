import { envelopeOf, resultViewSchema } from '@avatar/contracts'
import type { Api, AppDeps } from '../app-deps.ts'
import { getOwnJob } from '../own-job.ts'
import { requireResult, resultView } from '../views.ts'
import { failureAnswers, jobParamsSchema } from './answers.ts'

/** `GET /result/{job_id}`: a new link to the video at the store's public address, which ends with the video. */
export function routeResult(app: Api, deps: AppDeps) {
  app.get(
    '/result/:job_id',
    {
      schema: {
        operationId: 'getResult',
        summary: 'A link to the finished video',
        params: jobParamsSchema,
        response: {
          200: envelopeOf(resultViewSchema).describe('The video, and a link to it.'),
          ...failureAnswers(
            'JOB_NOT_FOUND',
            'JOB_NOT_COMPLETED',
            'RESULT_DELETED',
            'INVALID_REQUEST',
          ),
        },
      },
    },
    async (request) => {
      const job = await getOwnJob(deps, request.owner, request.params.job_id)
      const nowMs = deps.clock.nowMs()
      const result = requireResult(job, nowMs)
      const maxSeconds = deps.config.RESULT_URL_TTL_SECONDS
      const data = await resultView(deps.objects, job, result, { nowMs, maxSeconds })
      return { data, meta: { request_id: request.id } }
    },
  )
}
