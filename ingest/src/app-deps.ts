import type { JobRecords } from '@avatar/job-kit'
import type { Foundation, ObjectStore, Trace } from '@avatar/service-kit'
import type { FastifyPluginCallbackZod } from 'fastify-type-provider-zod'
import type { Admission } from './admission.ts'
import type { ApiKeys } from './api-keys.ts'
import type { Board } from './board.ts'
import type { IngestConfig } from './config.ts'
import type { FullStreams } from './full-streams.ts'
import type { JobChanges } from './job-changes.ts'
import type { UploadSpool } from './upload-spool.ts'
import type { Workers } from './workers.ts'

/** Everything the API is built from. */
export type AppDeps = Foundation<IngestConfig> & {
  records: JobRecords
  objects: ObjectStore
  apiKeys: ApiKeys
  admit: Admission
  board: Board
  workers: Workers
  changes: JobChanges
  fullStreams: FullStreams
  spool: UploadSpool
}

/** The app as routes use it: their zod schemas give the types. */
export type Api = Parameters<FastifyPluginCallbackZod>[0]

declare module 'fastify' {
  interface FastifyRequest {
    trace: Trace
    /** The owner of the API key; empty on routes that need no key. */
    owner: string
  }
  interface FastifyContextConfig {
    /** True on routes that need no key. */
    isPublic?: boolean
  }
}
