import { envelopeOf, statusViewSchema } from '@avatar/contracts'
import type { Api, AppDeps } from '../app-deps.ts'
import { getOwnJob } from '../own-job.ts'
import { statusView } from '../views.ts'
import { failureAnswers, jobParamsSchema } from './answers.ts'

/** `GET /status/{job_id}`: where a job is. */
export function routeStatus(app: Api, deps: AppDeps) {
  app.get(
    '/status/:job_id',
    {
      schema: {
        operationId: 'getStatus',
        summary: 'Where a job is',
        params: jobParamsSchema,
        response: {
          200: envelopeOf(statusViewSchema).describe('The job as it is now.'),
          ...failureAnswers('JOB_NOT_FOUND', 'INVALID_REQUEST'),
        },
      },
    },
    async (request) => {
      const job = await getOwnJob(deps, request.owner, request.params.job_id)
      const data = statusView(job, { ...deps, nowMs: deps.clock.nowMs() })
      return { data, meta: { request_id: request.id } }
    },
  )
}
