import {
  type EventOf,
  hasOpenAttempt,
  type JobRecord,
  outputKey,
  type Rendered,
  spanAttributes,
  spanNames,
  type Timings,
  type Used,
} from '@avatar/contracts'
import type { RenderLearner } from '@avatar/job-kit'
import {
  AppError,
  type Delivery,
  describeSpan,
  logFailure,
  type ObjectStore,
  withSpan,
} from '@avatar/service-kit'
import { logFailedJob } from '../log-failed-job.ts'
import type { PublishOutputs } from '../outputs/publish-outputs.ts'
import { mayCatchUp } from '../records/behind.ts'
import type { JobWriter } from '../records/job-writer.ts'

/**
 * A worker has uploaded a video: note that, check the stored object, and complete the job or refuse the
 * attempt. While the store is unavailable the event is redelivered, and nothing is rendered again.
 */
export function onRenderCompleted(deps: {
  writer: JobWriter
  objects: ObjectStore
  publishOutputs: PublishOutputs
  renderLearner: Pick<RenderLearner, 'note'>
  timings: Timings
}) {
  const { writer, objects, publishOutputs, renderLearner, timings } = deps
  return async (event: EventOf<'render.completed'>, delivery: Delivery): Promise<void> => {
    const { jobId, owner, epoch, rendered, used } = event
    const log = delivery.log.child({ jobId, attempt: epoch })

    const noted = await writer.apply(owner, jobId, { kind: 'completed', epoch, rendered, used })
    if (mayCatchUp(noted?.value, event, delivery)) return delivery.putBack(timings.handlerBackoffMs)
    if (!noted) return log.warn('event of an unknown job ignored')
    const { uploaded } = noted.value
    const isOurs = hasOpenAttempt(noted.value) && noted.value.epoch === epoch && uploaded
    if (!isOurs) return publishOutputs(noted.value, noted.revision)

    const fault = await verify(objects, noted.value, uploaded)
    if (fault) logFailure(log, new AppError('OUTPUT_INVALID'), 'stored video refused', { fault })
    const kind = fault ? 'refused' : 'verified'
    const settled = await writer.apply(owner, jobId, { kind, epoch })
    if (!settled) return log.warn('event of an unknown job ignored')
    log.info({ state: settled.value.state }, 'upload settled')
    logFailedJob(log, settled)
    await publishOutputs(settled.value, settled.revision)
    if (!settled.changed || settled.value.state !== 'completed') return
    learnFrom(renderLearner, settled.value, used)
  }
}

/** A render that went through in one piece, at its full size, tells how fast its engine is. */
function learnFrom(learner: Pick<RenderLearner, 'note'>, job: JobRecord, used: Used | undefined) {
  const { result, finishedAtMs, startedAtMs, frames } = job
  const { engine, size, device, framesPerChunk, isResumed } = used ?? {}
  if (!result || result.degraded || isResumed) return
  // Its `render.started` was lost.
  if (finishedAtMs === undefined || startedAtMs === undefined) return
  if (!used || !engine || !size || !device || !framesPerChunk) return
  const storingSeconds = Math.max(0, (finishedAtMs - startedAtMs) / 1000 - result.renderSeconds)
  learner.note(
    { engine, size, device, quality: job.how?.quality },
    {
      ...{ frames, framesPerChunk, storingSeconds, atMs: finishedAtMs },
      seconds: used.gpuSeconds,
      secondsPerVideoSecond: used.secondsPerVideoSecond,
    },
  )
}

const verify: typeof findFault = (...upload) =>
  withSpan(
    spanNames.verify,
    {},
    async () => {
      const fault = await findFault(...upload)
      describeSpan({ [spanAttributes.fault]: fault })
      return fault
    },
    'client',
  )

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
