import { consumers, subjects, type Timings } from '@avatar/contracts'
import {
  asAppError,
  type Bus,
  type Clock,
  consumerLoop,
  type Log,
  type ObjectStore,
  type Runnable,
} from '@avatar/service-kit'
import { onJobEvent } from './handlers/job-event.ts'
import type { JobLedger } from './job-ledger.ts'
import type { PublishOutputs } from './publish-outputs.ts'
import { answerCancel } from './requests/cancel.ts'
import { answerClaim } from './requests/claim.ts'
import { answerStore } from './requests/store.ts'
import { onRenderCompleted } from './storage/render-completed.ts'

export type SubscriptionDeps = {
  bus: Bus
  ledger: JobLedger
  objects: ObjectStore
  publishOutputs: PublishOutputs
  clock: Clock
  log: Log
  timings: Timings
  urlTtlSeconds: number
}

/** The table of contents: what the orchestrator hears, and who handles it. */
export function subscriptions(deps: SubscriptionDeps): Runnable[] {
  const { bus, clock, log, timings } = deps
  const reader = { bus, clock, log, timings }
  const specs = consumers(timings)
  return [
    consumerLoop({
      ...reader,
      spec: specs.orchestrator,
      concurrency: 16,
      handle: onJobEvent(deps),
    }),
    consumerLoop({
      ...reader,
      spec: specs.storage,
      concurrency: 16,
      handle: onRenderCompleted(deps),
    }),
    responder(deps, subjects.claim, answerClaim(deps)),
    responder(deps, subjects.store, answerStore(deps)),
    responder(deps, subjects.cancel, answerCancel(deps)),
  ]
}

/** Answers requests as one of a queue group; a failure is answered too, so that the asker need not wait. */
function responder(
  { bus, log }: SubscriptionDeps,
  subject: string,
  answer: (body: unknown, traceparent: string | undefined) => Promise<unknown>,
): Runnable {
  let subscription: { stop(): void } | undefined
  return {
    async start() {
      subscription ??= bus.listen(
        subject,
        async (message) => {
          try {
            message.reply(await answer(message.json(), message.traceparent))
          } catch (error) {
            const { code } = asAppError(error)
            log.warn({ err: error, subject, code }, 'request failed')
            message.reply({ answer: 'error', code })
          }
        },
        { queue: 'orchestrator' },
      )
    },
    async stop() {
      subscription?.stop()
      subscription = undefined
    },
  }
}
