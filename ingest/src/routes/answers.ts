import { errorEnvelopeSchema, type FailureCode, failures, jobIdSchema } from '@avatar/contracts'
import { z } from 'zod'

/** The path parameter of every route about one job. */
export const jobParamsSchema = z.object({ job_id: jobIdSchema })

/** The failure answers of a route, for its schema: one entry for each status of these codes. */
export function failureAnswers(...codes: FailureCode[]) {
  const statuses = codes.map((code) => failures[code].httpStatus)
  return Object.fromEntries([...statuses, 401, 503].map((status) => [status, errorEnvelopeSchema]))
}
