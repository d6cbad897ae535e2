import {
  type EventOf,
  hasOpenAttempt,
  type JobRecord,
  outputKey,
  type Rendered,
} from '@avatar/contracts'
import { AppError, type Delivery, logFailure, type ObjectStore } from '@avatar/service-kit'
import type { JobLedger } from '../job-ledger.ts'
import { logFailedJob } from '../log-failed-job.ts'
import type { PublishOutputs } from '../publish-outputs.ts'

/**
 * A worker has uploaded a video: note that, check the stored object, and complete the job or refuse the
 * attempt. While the store is unavailable the event is redelivered, and nothing is rendered again.
 */
export function onRenderCompleted(deps: {
  ledger: JobLedger
  objects: ObjectStore
  publishOutputs: PublishOutputs
}) {
  const { ledger, objects, publishOutputs } = deps
  return async (event: EventOf<'render.completed'>, delivery: Delivery): Promise<void> => {
    const { jobId, owner, epoch, rendered } = event
    const log = delivery.log.child({ jobId, attempt: epoch })

    const noted = await ledger.apply(owner, jobId, { kind: 'completed', epoch, rendered })
    if (!noted) return log.warn('event of an unknown job ignored')
    const { uploaded } = noted.value
    const isOurs = hasOpenAttempt(noted.value) && noted.value.epoch === epoch && uploaded
    if (!isOurs) return publishOutputs(noted.value, noted.revision)

    const fault = await findFault(objects, noted.value, uploaded)
    if (fault) logFailure(log, new AppError('OUTPUT_INVALID'), 'stored video refused', { fault })
    const kind = fault ? 'refused' : 'verified'
    const settled = await ledger.apply(owner, jobId, { kind, epoch })
    if (!settled) return log.warn('event of an unknown job ignored')
    log.info({ state: settled.value.state }, 'upload settled')
    logFailedJob(log, settled)
    await publishOutputs(settled.value, settled.revision)
  }
}

/** What is wrong with the stored video, if anything. Not every store reports a checksum. */
async function findFault(
  objects: ObjectStore,
  job: JobRecord,
  rendered: Rendered,
): Promise<string | undefined> {
  if (rendered.key !== outputKey(job.jobId, job.epoch)) return 'another key'
  if (Math.abs(rendered.frames - job.frames) > 1) return 'another length than the audio'
  const stored = await objects.head(rendered.key)
  if (!stored) return 'no such object'
  if (stored.bytes !== rendered.bytes) return 'another size'
  if (stored.sha256 !== undefined && stored.sha256 !== rendered.sha256) return 'another checksum'
  return undefined
}
