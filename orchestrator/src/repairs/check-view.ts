import { isTerminal, type JobRecord } from '@avatar/contracts'
import type { JobRecords } from '@avatar/job-kit'
import { background, type Foundation, type Runnable, type Versioned } from '@avatar/service-kit'
import type { LiveJobs } from '../records/live-jobs.ts'

/**
 * Reads every record beside the view of them, now and then. They cannot differ; should they do so all the
 * same, a job would wait for ever, or be picked for ever, so the view is corrected.
 */
export function viewChecker(
  deps: Pick<Foundation, 'clock' | 'log' | 'timings' | 'metrics'> & {
    records: Pick<JobRecords, 'find' | 'watch'>
    liveJobs: Pick<LiveJobs, 'all' | 'find' | 'seenUpTo' | 'correct'>
  },
): Runnable & { runOnce(signal?: AbortSignal): Promise<number> } {
  const { clock, log, timings, records, liveJobs } = deps

  /** @returns how many jobs the view was wrong about */
  async function runOnce(signal = new AbortController().signal): Promise<number> {
    let corrected = 0
    for (const [jobId, key] of await readDoubtful(signal)) {
      if (signal.aborted) break
      const record = await records.find(key)
      if (isAsKnown(jobId, record)) continue
      log.error({ jobId, state: record?.value.state }, 'the view of a job was wrong, corrected')
      liveJobs.correct(jobId, record)
      deps.metrics.of('orchestrator').reconciled_total.add(1, { repair: 'view' })
      corrected++
    }
    return corrected
  }

  /** The jobs that look different in the bucket, with their keys. Most have only just changed. */
  async function readDoubtful(signal: AbortSignal): Promise<Map<string, string>> {
    const doubtful = new Map<string, string>()
    const unread = new Map<string, string>()
    for (const { value } of liveJobs.all()) unread.set(value.jobId, `${value.owner}.${value.jobId}`)
    const enough = new AbortController()
    const reading = AbortSignal.any([signal, enough.signal])
    for await (const { key, value, revision } of records.watch(reading, () => enough.abort())) {
      if (!value) continue
      unread.delete(value.jobId)
      if (!isAsKnown(value.jobId, { value, revision })) doubtful.set(value.jobId, key)
    }
    return signal.aborted ? new Map() : new Map([...doubtful, ...unread])
  }

  /** Whether the view has the record, or will have it once the watch has told the latest. */
  function isAsKnown(jobId: string, record: Versioned<JobRecord> | undefined): boolean {
    const known = liveJobs.find(jobId)
    if (!record) return known === undefined
    if (record.revision > liveJobs.seenUpTo()) return true
    return isTerminal(record.value) ? known === undefined : known?.revision === record.revision
  }

  const everyMs = timings.viewCheckEveryMs
  const pass = async (signal: AbortSignal) => {
    // The first look is an hour after the start: at the start the view is read from the records.
    await clock.wait(everyMs, signal)
    if (!signal.aborted) await runOnce(signal)
  }
  return {
    ...background({ ...deps, name: 'check of the view', everyMs: 0, silentForMs: Infinity, pass }),
    runOnce,
  }
}
