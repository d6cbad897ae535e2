import { errorEnvelopeSchema, type FailureCode, failures } from '@avatar/contracts'
import { z } from 'zod'

/** The path parameter of every route about one job. Anything in the form of a UUID may be asked for. */
export const jobParamsSchema = z.object({ job_id: z.guid() })

/** The failures of every route that needs a key. */
const commonCodes: readonly FailureCode[] = ['UNAUTHORIZED', 'BROKER_UNAVAILABLE', 'DRAINING']

/** The failure answers in a route's schema: one for each status, with its codes listed in the description. */
export function failureAnswers(...codes: FailureCode[]) {
  const byStatus = Map.groupBy([...codes, ...commonCodes], (code) => failures[code].httpStatus)
  return Object.fromEntries(
    [...byStatus].map(([status, named]) => [
      status,
      errorEnvelopeSchema.describe(
        named.map((code) => `\`${code}\`: ${failures[code].summary}`).join('\n\n'),
      ),
    ]),
  )
}
