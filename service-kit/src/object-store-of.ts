import type { Timings } from '@avatar/contracts'
import type { Secret } from './config.ts'
import { createObjectStore, type ObjectStore } from './object-store.ts'

/** The object store that a service's configuration names. */
export function objectStoreOf(
  config: {
    S3_ENDPOINT?: string | undefined
    S3_PUBLIC_ENDPOINT?: string | undefined
    R2_ACCOUNT_ID?: string | undefined
    R2_ACCESS_KEY_ID: string
    R2_SECRET_ACCESS_KEY: Secret
    R2_BUCKET_NAME: string
  },
  timings: Timings,
): ObjectStore {
  return createObjectStore({
    endpoint: config.S3_ENDPOINT ?? `https://${config.R2_ACCOUNT_ID}.r2.cloudflarestorage.com`,
    publicEndpoint: config.S3_PUBLIC_ENDPOINT,
    bucket: config.R2_BUCKET_NAME,
    accessKeyId: config.R2_ACCESS_KEY_ID,
    secretAccessKey: config.R2_SECRET_ACCESS_KEY.reveal(),
    stallMs: timings.transferStallMs,
  })
}
