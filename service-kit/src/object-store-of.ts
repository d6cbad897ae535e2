import type { Timings } from '@avatar/contracts'
import type { z } from 'zod'
import type { Clock } from './clock.ts'
import type { storeConfig } from './config.ts'
import { createObjectStore, type ObjectStore } from './object-store.ts'

/** The object store that a service's configuration names. `clock` is the time in its links. */
export function objectStoreOf(
  config: z.output<z.ZodObject<typeof storeConfig>>,
  timings: Timings,
  clock?: Clock,
): ObjectStore {
  return createObjectStore({
    endpoint: config.S3_ENDPOINT ?? `https://${config.R2_ACCOUNT_ID}.r2.cloudflarestorage.com`,
    publicEndpoint: config.S3_PUBLIC_ENDPOINT,
    bucket: config.R2_BUCKET_NAME,
    accessKeyId: config.R2_ACCESS_KEY_ID,
    secretAccessKey: config.R2_SECRET_ACCESS_KEY.reveal(),
    stallMs: timings.transferStallMs,
    ...(clock ? { clock } : {}),
  })
}
