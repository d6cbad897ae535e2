import { envelopeOf, jobIdSchema, jobKey, jobsPageSchema, limits } from '@avatar/contracts'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { AppDeps } from '../app-deps.ts'
import { statusView } from '../views.ts'
import { failureAnswers } from './answers.ts'

const querySchema = z.object({
  limit: z.coerce.number().int().min(1).max(limits.pageMaxJobs).default(20),
  cursor: jobIdSchema.optional().describe('`next_cursor` of the page before'),
})

/** `GET /jobs`: the caller's own jobs, newest first. */
export function routeJobs(app: FastifyInstance, deps: AppDeps) {
  app.withTypeProvider<ZodTypeProvider>().get(
    '/jobs',
    {
      schema: {
        summary: 'Your jobs, newest first',
        querystring: querySchema,
        response: { 200: envelopeOf(jobsPageSchema), ...failureAnswers('INVALID_REQUEST') },
      },
    },
    async (request) => {
      const { limit, cursor } = request.query
      const { owner } = request
      const ids = deps.board.listOf(owner, cursor, limit + 1)
      const page = ids.slice(0, limit)
      const found = await Promise.all(page.map((id) => deps.records.find(jobKey(owner, id))))
      const nowMs = deps.clock.nowMs()
      const jobs = found.flatMap((job) => (job ? [statusView(job.value, { ...deps, nowMs })] : []))
      return {
        data: { jobs, next_cursor: ids.length > limit ? (page.at(-1) ?? null) : null },
        meta: { request_id: request.id },
      }
    },
  )
}
