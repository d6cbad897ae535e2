import {
  anyEventOf,
  cancelRequestSchema,
  claimRequestSchema,
  consumers,
  eventSchemas,
  helloRequestSchema,
  nextRequestSchema,
  orchestratorEventTypes,
  storeRequestSchema,
  subjects,
} from '@avatar/contracts'
import type { RenderLearner } from '@avatar/job-kit'
import {
  consumerLoop,
  type Foundation,
  type ObjectStore,
  type Runnable,
  responder,
} from '@avatar/service-kit'
import type { Dispatcher } from './dispatch/dispatcher.ts'
import { listenWhenCurrent } from './dispatch/listen-when-current.ts'
import type { RenderOrders } from './dispatch/render-order.ts'
import type { WorkerLinks } from './dispatch/worker-links.ts'
import { onJobEvent } from './handlers/job-event.ts'
import type { PublishOutputs } from './outputs/publish-outputs.ts'
import type { JobWriter } from './records/job-writer.ts'
import { answerCancel } from './requests/cancel.ts'
import { answerClaim } from './requests/claim.ts'
import { answerHello } from './requests/hello.ts'
import { answerNext } from './requests/next.ts'
import { answerStore } from './requests/store.ts'
import type { Scaler } from './scale/pass.ts'
import type { ScaledPool } from './scale/scaled-pool.ts'
import { onRenderCompleted } from './storage/render-completed.ts'

type SubscriptionDeps = Omit<Foundation, 'config'> & {
  dispatcher: Dispatcher
  renderOrder: RenderOrders
  writer: JobWriter
  objects: ObjectStore
  publishOutputs: PublishOutputs
  renderLearner: RenderLearner
  scaler: Scaler
  scaledPool: ScaledPool
  /** The pool that is scaled; undefined where none is. */
  scaledPoolName: string | undefined
  /** Whether all records, limits and postings are read. */
  isCurrent: () => boolean
  workerLinks: WorkerLinks
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
    listenWhenCurrent({
      ...deps,
      isCurrent: deps.isCurrent,
      listener: responder({
        ...asked,
        subject: subjects.next('*'),
        schema: nextRequestSchema,
        answer: answerNext(deps),
      }),
    }),
    responder({
      ...asked,
      subject: subjects.claim('*'),
      schema: claimRequestSchema,
      answer: answerClaim(deps),
    }),
    responder({
      ...asked,
      subject: subjects.store('*'),
      schema: storeRequestSchema,
      answer: answerStore(deps),
    }),
    responder({
      ...asked,
      subject: subjects.hello('*'),
      schema: helloRequestSchema,
      answer: answerHello(deps),
    }),
    responder({
      ...asked,
      subject: subjects.cancel,
      schema: cancelRequestSchema,
      answer: answerCancel(deps),
    }),
  ]
}
