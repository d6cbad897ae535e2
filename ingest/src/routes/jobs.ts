import { envelopeOf, jobKey, jobsPageSchema, limits } from '@avatar/contracts'
import { z } from 'zod'
import type { Api, AppDeps } from '../app-deps.ts'
import type { PageEnd } from '../job-list.ts'
import { statusView } from '../views.ts'
import { failureAnswers } from './answers.ts'

/** The end of a page: its time and its job. */
const cursorPattern = /^([0-9]{1,15})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/

const limitProblem = `must be a whole number from 1 to ${limits.pageMaxJobs}`

const querySchema = z.object({
  limit: z.coerce
    .number(limitProblem)
    .int(limitProblem)
    .min(1, limitProblem)
    .max(limits.pageMaxJobs, limitProblem)
    .default(20),
  cursor: z
    .string()
    .regex(cursorPattern, 'give `next_cursor` as the page before has it')
    .optional()
    .describe('`next_cursor` of the page before'),
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

function parseCursor(cursor: string): PageEnd {
  const [, time = '', jobId = ''] = cursorPattern.exec(cursor) ?? []
  return { createdAtMs: Number(time), jobId }
}
