import { errorEnvelopeSchema, type FailureCode, failures } from '@avatar/contracts'
import { z } from 'zod'

/** The path parameter of every route about one job: anything of a UUID's form may be asked for. */
export const jobParamsSchema = z.object({ job_id: z.guid() })

/** What any route that needs a key may answer. */
const commonCodes: readonly FailureCode[] = ['UNAUTHORIZED', 'BROKER_UNAVAILABLE', 'DRAINING']

/** The failure answers of a route, for its schema: one for each status, which lists its codes. */
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
