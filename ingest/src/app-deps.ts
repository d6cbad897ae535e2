import type { Timings } from '@avatar/contracts'
import type { JobRecords } from '@avatar/job-kit'
import type { Bus, Clock, Log, Metrics, ObjectStore, Trace } from '@avatar/service-kit'
import type { Admission } from './admission.ts'
import type { ApiKeys } from './api-keys.ts'
import type { Board } from './board.ts'
import type { UploadSpool } from './upload-spool.ts'
import type { Workers } from './workers.ts'

/** Everything the API is built from; a test makes its own. */
export type AppDeps = {
  bus: Bus
  records: JobRecords
  objects: ObjectStore
  apiKeys: ApiKeys
  admit: Admission
  board: Board
  workers: Workers
  spool: UploadSpool
  clock: Clock
  log: Log
  timings: Timings
  metrics: Metrics
  allowedOrigins: readonly string[]
  hasDocs: boolean
  resultUrlTtlSeconds: number
}

declare module 'fastify' {
  interface FastifyRequest {
    trace: Trace
    /** The owner behind the key; empty on routes that need none. */
    owner: string
  }
  interface FastifyContextConfig {
    /** Set on routes that need no key. */
    isPublic?: boolean
  }
}
