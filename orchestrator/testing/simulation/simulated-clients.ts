import {
  buckets,
  cancelAnswerSchema,
  type JobRecord,
  jobKey,
  jobRecordSchema,
  subjects,
} from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { factOf, type JobRecords, plainEvent, publishEvent } from '@avatar/job-kit'
import { AppError } from '@avatar/service-kit'
import type { LifeChecks } from './check-life.ts'
import type { PlannedJob } from './simulated-life.ts'
import type { Around } from './simulated-services.ts'

type Submission = { jobId: string; owner: string; planned: PlannedJob }

/** Sends the same request again and again, as a client does that is answered 503. */
export async function submitUntilAccepted(around: Around, submission: Submission): Promise<void> {
  const records = await around.bus.records(buckets.job, jobRecordSchema)
  for (;;) {
    try {
      return await admit(records, around, submission)
    } catch (error) {
      if (!(error instanceof AppError) || !error.mayRetry) throw error
      await around.process.clock.wait(2_000)
    }
  }
}

/** What ingest does: inputs, record, event. @throws AppError while broker or store are away */
async function admit(
  records: JobRecords,
  { bus, store, process: { clock } }: Around,
  { jobId, owner, planned }: Submission,
): Promise<void> {
  let job = (await records.find(jobKey(owner, jobId)))?.value
  if (!job) {
    if (store.isAway) throw new AppError('STORE_UNAVAILABLE')
    for (const name of ['image', 'audio'])
      store.put(`jobs/${jobId}/input/${name}`, { bytes: 1, sha256: 'a' })
    const created = recordOf(jobId, owner, planned, clock.nowMs())
    const written = await records.create(jobKey(owner, jobId), created)
    job = written === 'exists' ? (await records.find(jobKey(owner, jobId)))?.value : created
  }
  if (job?.state !== 'pending' || planned.isAbandoned) return
  const event = plainEvent('job.submitted', factOf(job, 1, clock.nowMs()))
  await publishEvent(bus, event, { traceparent: job.traceparent, timeoutMs: 2_000 })
}

const cancelTries = 200

/** Asks until somebody says that the job will be cancelled, or has ended. */
export async function cancelUntilTaken(
  { bus, process, checks }: Around & { checks: LifeChecks },
  { jobId, owner }: Pick<Submission, 'jobId' | 'owner'>,
): Promise<void> {
  for (let tries = 0; tries < cancelTries; tries++) {
    const told = await bus.request(subjects.cancel, { jobId, owner }, { timeoutMs: 3_000 })
    const { data: answer } = cancelAnswerSchema.safeParse(told)
    if (answer?.answer === 'unknown') return checks.complain(`I1 ${jobId} is unknown`)
    if (answer) return
    await process.clock.wait(2_000)
  }
  checks.complain(`nobody took the cancellation of ${jobId}`)
}

function recordOf(jobId: string, owner: string, planned: PlannedJob, nowMs: number): JobRecord {
  const { seconds, isHigh, door } = planned
  const known = aJob({ jobId, owner, door, state: 'pending', createdAtMs: nowMs })
  return {
    ...known,
    image: { ...known.image, key: `jobs/${jobId}/input/image` },
    audio: { ...known.audio, key: `jobs/${jobId}/input/audio`, seconds },
    frames: seconds * 25,
    estimatedSeconds: seconds,
    priority: isHigh ? 'high' : 'normal',
  }
}
