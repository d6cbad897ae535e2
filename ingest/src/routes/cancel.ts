import {
  cancelAnswerSchema,
  cancelViewSchema,
  envelopeOf,
  spanAttributes,
  subjects,
} from '@avatar/contracts'
import { AppError, jobTraceparent } from '@avatar/service-kit'
import type { Api, AppDeps } from '../app-deps.ts'
import { getOwnJob } from '../own-job.ts'
import { failureAnswers, jobParamsSchema } from './answers.ts'

/** `POST /cancel/{job_id}`: records the request. The job is cancelled when its state says so. */
export function routeCancel(app: Api, deps: AppDeps) {
  app.post(
    '/cancel/:job_id',
    {
      schema: {
        operationId: 'cancel',
        summary: 'Cancel a job',
        params: jobParamsSchema,
        response: {
          200: envelopeOf(cancelViewSchema).describe(
            'The request is recorded; `/status` shows when the job is cancelled.',
          ),
          ...failureAnswers(
            'JOB_NOT_FOUND',
            'JOB_ALREADY_FINISHED',
            'INVALID_REQUEST',
            'ORCHESTRATOR_UNAVAILABLE',
          ),
        },
      },
    },
    async (request) => {
      const { job_id: jobId } = request.params
      const job = await getOwnJob(deps, request.owner, jobId)
      // What is done about it is told in the trace of the job.
      request.span?.set({ [spanAttributes.jobId]: jobId })
      request.span?.link(jobTraceparent(job))
      const answer = cancelAnswerSchema.safeParse(
        await deps.bus.request(
          subjects.cancel,
          { jobId, owner: request.owner },
          { timeoutMs: deps.timings.requestTimeoutMs },
        ),
      )
      if (!answer.success) throw new AppError('ORCHESTRATOR_UNAVAILABLE')
      if (answer.data.answer === 'unknown') throw new AppError('JOB_NOT_FOUND')
      if (answer.data.answer === 'terminal')
        throw new AppError('JOB_ALREADY_FINISHED', { details: { status: answer.data.state } })
      return {
        data: { job_id: jobId, status: 'cancelling' as const },
        meta: { request_id: request.id },
      }
    },
  )
}
