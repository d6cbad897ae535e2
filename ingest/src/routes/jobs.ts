import { envelopeOf, jobIdSchema, jobKey, jobsPageSchema, limits } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import { z } from 'zod'
import type { Api, AppDeps } from '../app-deps.ts'
import type { PageEnd } from '../board.ts'
import { statusView } from '../views.ts'
import { failureAnswers } from './answers.ts'

const querySchema = z.object({
  limit: z.coerce.number().int().min(1).max(limits.pageMaxJobs).default(20),
  cursor: z.string().max(100).optional().describe('`next_cursor` of the page before'),
})

/** `GET /jobs`: the caller's own jobs, newest first. */
export function routeJobs(app: Api, deps: AppDeps) {
  app.get(
    '/jobs',
    {
      schema: {
        operationId: 'listJobs',
        summary: 'Your jobs, newest first',
        querystring: querySchema,
        response: {
          200: envelopeOf(jobsPageSchema).describe('One page, newest first.'),
          ...failureAnswers('INVALID_REQUEST'),
        },
      },
    },
    async (request) => {
      const { limit, cursor } = request.query
      const { owner } = request
      const after = cursor === undefined ? undefined : parseCursor(cursor)
      const listed = deps.board.listOf(owner, after, limit + 1)
      const page = listed.slice(0, limit)
      const found = await Promise.all(
        page.map(({ jobId }) => deps.records.find(jobKey(owner, jobId))),
      )
      const nowMs = deps.clock.nowMs()
      const jobs = found.flatMap((job) => (job ? [statusView(job.value, { ...deps, nowMs })] : []))
      const end = page.at(-1)
      return {
        data: { jobs, next_cursor: end && listed.length > limit ? formatCursor(end) : null },
        meta: { request_id: request.id },
      }
    },
  )
}

/** The cursor holds the place in the order itself, because the job it names may be gone by the next page. */
function formatCursor({ createdAtMs, jobId }: PageEnd): string {
  return `${createdAtMs}.${jobId}`
}

/** @throws AppError INVALID_REQUEST */
function parseCursor(cursor: string): PageEnd {
  const [, time, id] = /^(\d{1,15})\.(.+)$/.exec(cursor) ?? []
  const jobId = jobIdSchema.safeParse(id)
  if (!time || !jobId.success) {
    const problem = 'give `next_cursor` as the page before has it'
    throw new AppError('INVALID_REQUEST', { details: { field: 'cursor', problem } })
  }
  return { createdAtMs: Number(time), jobId: jobId.data }
}
