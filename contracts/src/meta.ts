import { z } from 'zod'

/**
 * The number of the layout of streams, buckets and records. It grows with each change that makes services
 * of before or after it work wrongly on the other's data. Provisioning notes it in the broker: a service
 * starts on its own number and on a later one, never on an earlier one.
 */
export const schemaNumber = 2

/**
 * The number of what workers and services say to each other. It grows with each change that an older
 * reader would misunderstand. A worker of this number or of the one before is let in.
 */
export const contractsNumber = 1

/** The key under which KV `meta` holds it. */
export const schemaKey = 'schema'

/** Which layout the broker holds, and which release made it. */
export const schemaRecordSchema = z.object({
  number: z.int().positive(),
  release: z.string().min(1).max(100),
})
export type SchemaRecord = z.infer<typeof schemaRecordSchema>
