import { openJobRecords } from '@avatar/job-kit'
import {
  type Foundation,
  objectStoreOf,
  type ServiceParts,
  stopTogether,
} from '@avatar/service-kit'
import type { OrchestratorConfig } from './config.ts'
import { createJobLedger } from './job-ledger.ts'
import { createLiveJobs } from './live-jobs.ts'
import { createPublishOutputs } from './publish-outputs.ts'
import { reconciler } from './reconcile.ts'
import { subscriptions } from './subscriptions.ts'
import { watchWorkers } from './watch-workers.ts'

/** All parts of the orchestrator, wired but not started. */
export async function buildOrchestrator(
  foundation: Foundation<OrchestratorConfig>,
): Promise<ServiceParts> {
  const { config, log, bus, metrics, clock, timings } = foundation
  const objects = objectStoreOf(config, timings)
  const records = await openJobRecords(bus)
  const transitions = metrics.meter.createCounter('infinitetalk_job_transitions_total', {
    description: 'State changes of jobs, by the state reached',
  })
  const ledger = createJobLedger({
    records,
    clock,
    rules: {
      retentionMs: config.VIDEO_RETENTION_HOURS * 3_600_000,
      minDeadlineSeconds: config.RENDER_DEADLINE_MIN_SECONDS,
      timings,
    },
    onTransition: (state) => transitions.add(1, { state }),
  })
  const liveJobs = createLiveJobs({ records, clock, log })
  metrics.meter
    .createObservableGauge('infinitetalk_live_jobs', { description: 'Jobs that have not ended' })
    .addCallback((observed) => observed.observe(liveJobs.count()))

  const publishOutputs = createPublishOutputs({ bus, objects, clock })
  const urlTtlSeconds = config.PRESIGNED_URL_TTL_SECONDS
  const deps = { ...foundation, ledger, objects, publishOutputs, liveJobs, urlTtlSeconds }
  const parts = [liveJobs, ...subscriptions(deps), watchWorkers(deps), reconciler(deps)]
  return {
    start: parts,
    stopPhases: [stopTogether('work', 10_000, parts)],
    checks: { store: objects.isReachable },
  }
}
