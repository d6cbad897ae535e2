import type { Timings } from '@avatar/contracts'
import { ConfigError, type Secret } from './config.ts'
import { createObjectStore, type ObjectStore } from './object-store.ts'

/** The object store a service's configuration names. */
export function objectStoreOf(
  config: {
    S3_ENDPOINT?: string | undefined
    R2_ACCOUNT_ID?: string | undefined
    R2_ACCESS_KEY_ID: string
    R2_SECRET_ACCESS_KEY: Secret
    R2_BUCKET_NAME: string
  },
  timings: Timings,
): ObjectStore {
  return createObjectStore({
    endpoint: s3Endpoint(config),
    bucket: config.R2_BUCKET_NAME,
    accessKeyId: config.R2_ACCESS_KEY_ID,
    secretAccessKey: config.R2_SECRET_ACCESS_KEY.reveal(),
    stallMs: timings.transferStallMs,
  })
}

/** The S3 endpoint of a configuration: named, or R2's of the account. */
export function s3Endpoint(config: {
  S3_ENDPOINT?: string | undefined
  R2_ACCOUNT_ID?: string | undefined
}): string {
  if (config.S3_ENDPOINT) return config.S3_ENDPOINT
  if (!config.R2_ACCOUNT_ID) throw new ConfigError('Give S3_ENDPOINT or R2_ACCOUNT_ID.')
  return `https://${config.R2_ACCOUNT_ID}.r2.cloudflarestorage.com`
}
