import {
  anyEventOf,
  cancelRequestSchema,
  claimRequestSchema,
  consumers,
  eventSchemas,
  orchestratorEventTypes,
  storeRequestSchema,
  subjects,
} from '@avatar/contracts'
import {
  consumerLoop,
  type Foundation,
  type ObjectStore,
  type Runnable,
  responder,
} from '@avatar/service-kit'
import { onJobEvent } from './handlers/job-event.ts'
import type { JobLedger } from './job-ledger.ts'
import type { PublishOutputs } from './publish-outputs.ts'
import { answerCancel } from './requests/cancel.ts'
import { answerClaim } from './requests/claim.ts'
import { answerStore } from './requests/store.ts'
import { onRenderCompleted } from './storage/render-completed.ts'

type SubscriptionDeps = Omit<Foundation, 'config'> & {
  ledger: JobLedger
  objects: ObjectStore
  publishOutputs: PublishOutputs
  urlTtlSeconds: number
}

/** The table of contents: everything that the orchestrator receives, and its handler. */
export function subscriptions(deps: SubscriptionDeps): Runnable[] {
  const { bus, clock, log, metrics, timings } = deps
  const reader = { bus, clock, log, metrics, timings, concurrency: 16 }
  const asked = { bus, queue: 'orchestrator' }
  const specs = consumers(timings)
  return [
    consumerLoop({
      ...reader,
      spec: specs.orchestrator,
      schema: anyEventOf(orchestratorEventTypes),
      handle: onJobEvent(deps),
    }),
    consumerLoop({
      ...reader,
      spec: specs.storage,
      schema: eventSchemas['render.completed'],
      handle: onRenderCompleted(deps),
    }),
    responder({
      ...asked,
      subject: subjects.claim,
      schema: claimRequestSchema,
      answer: answerClaim(deps),
    }),
    responder({
      ...asked,
      subject: subjects.store,
      schema: storeRequestSchema,
      answer: answerStore(deps),
    }),
    responder({
      ...asked,
      subject: subjects.cancel,
      schema: cancelRequestSchema,
      answer: answerCancel(deps),
    }),
  ]
}
