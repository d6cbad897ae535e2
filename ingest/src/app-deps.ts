import type { FailureCode, RateState } from '@avatar/contracts'
import type { JobRecords, LedgerReader, LimitsWatch } from '@avatar/job-kit'
import type { Foundation, ObjectStore, OpenSpan, RecordStore, Trace } from '@avatar/service-kit'
import type { FastifyPluginCallbackZod } from 'fastify-type-provider-zod'
import type { Admission } from './admission.ts'
import type { ApiKeys } from './api-keys.ts'
import type { Board } from './board.ts'
import type { IngestConfig } from './config.ts'
import type { Estimates } from './estimates.ts'
import type { EventTokens } from './event-tokens.ts'
import type { FailureLog } from './failure-log.ts'
import type { JobChanges } from './job-changes.ts'
import type { LookForRoom } from './queue-room.ts'
import type { Quotas } from './quotas.ts'
import type { RequestGate } from './rate/request-gate.ts'
import type { ScaleView } from './scale-view.ts'
import type { UploadSpool } from './upload-spool.ts'
import type { Workers } from './workers.ts'

/** Everything the API is built from. */
export type AppDeps = Foundation<IngestConfig> & {
  records: JobRecords
  objects: ObjectStore
  apiKeys: ApiKeys
  eventTokens: EventTokens
  gate: RequestGate
  failureLog: FailureLog
  admit: Admission
  board: Board
  workers: Workers
  scale: ScaleView
  estimates: Estimates
  changes: JobChanges
  lookForRoom: LookForRoom
  limits: LimitsWatch
  ledger: LedgerReader
  quotas: Quotas
  rateRecords: RecordStore<RateState>
  spool: UploadSpool
}

/** The app as routes use it: their zod schemas give the types. */
export type Api = Parameters<FastifyPluginCallbackZod>[0]

declare module 'fastify' {
  interface FastifyRequest {
    trace: Trace
    /** Absent where the request is not traced. */
    span?: OpenSpan
    /** The owner of the API key; empty on routes that need no key. */
    owner: string
    /** Of the failure that it was answered with. */
    failureCode?: FailureCode
    /** It was answered with an event stream, which lasts. */
    isEventStream?: boolean
  }
  interface FastifyContextConfig {
    /** True on routes that need no key, or check it themselves. */
    isPublic?: boolean
    /** True on the route that makes jobs, which has a rate of its own. */
    isSubmit?: boolean
  }
}
