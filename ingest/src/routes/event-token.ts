import { envelopeOf, eventTokenSchema } from '@avatar/contracts'
import { authorizationOf } from '../api-keys.ts'
import type { Api, AppDeps } from '../app-deps.ts'
import { getOwnJob } from '../own-job.ts'
import { linksOf } from '../views.ts'
import { failureAnswers, jobParamsSchema } from './answers.ts'

/** `POST /events/{job_id}/token`: a token for clients that can send no header with `/events`. */
export function routeEventToken(app: Api, deps: AppDeps) {
  app.post(
    '/events/:job_id/token',
    {
      schema: {
        operationId: 'createEventToken',
        summary: 'A token to follow a job without a header',
        params: jobParamsSchema,
        response: {
          201: envelopeOf(eventTokenSchema).describe('A token for the events of this job alone.'),
          ...failureAnswers('JOB_NOT_FOUND', 'INVALID_REQUEST'),
        },
      },
    },
    async (request, reply) => {
      const { jobId } = await getOwnJob(deps, request.owner, request.params.job_id)
      const key = await deps.apiKeys.recordOf(authorizationOf(request.headers))
      const { token, expiresAtMs } = deps.eventTokens.issue(key, jobId)
      const expires_at = new Date(expiresAtMs).toISOString()
      const url = `${linksOf(jobId, deps.config).events}?token=${token}`
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ data: { token, expires_at, url }, meta: { request_id: request.id } })
    },
  )
}
