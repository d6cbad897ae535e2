import { errorEnvelopeSchema, type FailureCode, failures } from '@avatar/contracts'
import { z } from 'zod'

/**
 * The path parameter of every route about one job. Anything in the form of a UUID may
 * be asked for, in letters of either case: some languages print UUIDs in capitals.
 */
export const jobParamsSchema = z.object({
  job_id: z.guid('must be a UUID, the job_id of an answer to POST /generate').toLowerCase(),
})

/** The failures of every route that needs a key. */
const commonCodes: readonly FailureCode[] = [
  'UNAUTHORIZED',
  'TOO_MANY_REQUESTS',
  'METHOD_NOT_ALLOWED',
  'BROKER_UNAVAILABLE',
  'DRAINING',
]

/** The failure answers in a route's schema: one for each status, with its codes listed in the description. */
export function failureAnswers(...codes: FailureCode[]) {
  return answersFor([...codes, ...commonCodes])
}

/** The answer of a path to a method that it does not take. */
export const notAllowedAnswers = answersFor(['METHOD_NOT_ALLOWED'])

function answersFor(codes: readonly FailureCode[]) {
  const byStatus = Map.groupBy(codes, (code) => failures[code].httpStatus)
  return Object.fromEntries(
    [...byStatus].map(([status, named]) => [
      status,
      errorEnvelopeSchema.describe(
        named.map((code) => `\`${code}\`: ${failures[code].summary}`).join('\n\n'),
      ),
    ]),
  )
}
