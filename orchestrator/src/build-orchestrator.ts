import { createFairOrder } from '@avatar/contracts'
import { followPaces, openJobRecords, openPaces, renderLearner } from '@avatar/job-kit'
import {
  collectorOf,
  type Foundation,
  type ObjectStore,
  objectStoreOf,
  type ServiceParts,
  stopTogether,
} from '@avatar/service-kit'
import type { OrchestratorConfig } from './config.ts'
import { createDispatchRules, type DispatchRules } from './dispatch/dispatch-rules.ts'
import { createDispatcher } from './dispatch/dispatcher.ts'
import { createRenderOrders } from './dispatch/render-order.ts'
import { createWorkerLinks } from './dispatch/worker-links.ts'
import { workerPostings } from './ledger/worker-postings.ts'
import { watchWorkers } from './liveness/watch-workers.ts'
import { measureTransitions, observeLiveJobs } from './observations/job-metrics.ts'
import { streamMetrics } from './observations/stream-metrics.ts'
import { workerMetrics } from './observations/worker-metrics.ts'
import { createWriteSpans } from './observations/write-spans.ts'
import { createPublishOutputs } from './outputs/publish-outputs.ts'
import { followWorkerPaces } from './paces/worker-paces.ts'
import { createJobWriter } from './records/job-writer.ts'
import { createLiveJobs } from './records/live-jobs.ts'
import { createSpanRelay } from './relay-spans.ts'
import { viewChecker } from './repairs/check-view.ts'
import { reconciler } from './repairs/reconcile.ts'
import { createScaler } from './scale/pass.ts'
import { openScaleTeller } from './scale/scale-summary.ts'
import { createScaledPool } from './scale/scaled-pool.ts'
import { openScalerLease } from './scale/scaler-lease.ts'
import { providerOf, scaleSettingsOf } from './scale/set-up.ts'
import { followWakes, openWakes } from './scale/wake.ts'
import { subscriptions } from './subscriptions.ts'

/**
 * All parts of the orchestrator, wired but not started.
 *
 * @param rulesInstead in the place of those that follow from limits and postings
 * @param objects in the place of the store that the configuration names
 */
export async function buildOrchestrator(
  foundation: Foundation<OrchestratorConfig>,
  rulesInstead: Partial<DispatchRules> = {},
  objects: ObjectStore = objectStoreOf(foundation.config, foundation.timings, foundation.clock),
): Promise<ServiceParts> {
  const { config, log, bus, metrics, clock, timings } = foundation
  const { rules: usualRules, following } = await createDispatchRules(foundation)
  const rules = { ...usualRules, ...rulesInstead }
  const records = await openJobRecords(bus)
  const paceRecords = await openPaces(bus)
  const paces = followPaces({ records: paceRecords, clock, log })
  const scaledPoolName = config.SCALE_PROVIDER === 'none' ? undefined : config.SCALE_POOL
  const workerPaces = followWorkerPaces({
    ...{ ...foundation, records: paceRecords, paces, scaledPoolName },
  })
  const learner = renderLearner({ ...foundation, records: paceRecords })
  const instruments = metrics.of('orchestrator')
  const measuredWorkers = workerMetrics(foundation)
  const { wasWarmAt } = measuredWorkers
  const measure = measureTransitions(instruments, {
    wasWarmAt,
    isInDollars: config.CURRENCY === 'USD',
  })
  const writeSpans = createWriteSpans({ currency: config.CURRENCY, wasWarmAt })
  const order = createFairOrder(rules)
  const liveJobs = createLiveJobs({ records, clock, log, order })
  const writer = createJobWriter({
    records,
    clock,
    rules: {
      retentionMs: config.VIDEO_RETENTION_HOURS * 3_600_000,
      minDeadlineSeconds: config.RENDER_DEADLINE_MIN_SECONDS,
      timings,
    },
    findKnown: liveJobs.findInHand,
    onWrite: liveJobs.note,
    onTransition(transition) {
      measure(transition)
      writeSpans(transition)
    },
  })
  observeLiveJobs(instruments, { liveJobs, clock })

  const publishOutputs = createPublishOutputs({ bus, objects, clock })
  const workerLinks = createWorkerLinks({
    objects,
    urlTtlSeconds: config.PRESIGNED_URL_TTL_SECONDS,
    localPools: config.LOCAL_POOLS,
  })
  const renderOrder = createRenderOrders({ workerLinks })
  const shared = { ...foundation, writer, records, objects, publishOutputs, liveJobs, renderOrder }
  const dispatcher = createDispatcher({ ...shared, rules, workerPaces })
  const wakes = followWakes({ records: await openWakes(bus), clock, log })
  const scaler = createScaler({
    ...{ ...foundation, rules, liveJobs, wakes, paces, paceRecords },
    settings: scaleSettingsOf(config),
    provider: providerOf(config, timings),
    lease: await openScalerLease({ bus, clock, timings }),
    teller: await openScaleTeller(bus),
    currency: config.CURRENCY,
  })
  const scaledPool = createScaledPool(scaledPoolName, wakes)
  const isCurrent = () => [liveJobs, following].every((part) => part.isReady?.() ?? true)
  const asked = { scaler, scaledPool, scaledPoolName }
  const deps = { ...shared, ...asked, renderLearner: learner, dispatcher, workerLinks, isCurrent }
  const parts = [
    following,
    liveJobs,
    learner,
    paces,
    workerPaces,
    dispatcher,
    scaler,
    ...subscriptions(deps),
    watchWorkers(deps),
    measuredWorkers,
    streamMetrics(foundation),
    workerPostings({ ...foundation, prices: config.POOL_PRICES }),
    reconciler(deps),
    viewChecker(deps),
    ...createSpanRelay({ ...foundation, collector: collectorOf(config) }),
  ]
  return {
    start: parts,
    stopPhases: [stopTogether('work', 10_000, parts)],
    checks: { store: objects.isReachable },
  }
}
