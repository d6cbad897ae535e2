import { isTerminal, scaledTimings, streams } from '@avatar/contracts'
import { gatherEvidence } from '../chaos/gather-evidence.ts'
import { type Accepted, type Evidence, judge, type Verdict } from '../chaos/judge.ts'
import { verdictText } from '../chaos/verdict-text.ts'
import type { CommandContext } from '../command-context.ts'
import { exitCodes } from '../exit-codes.ts'
import { timingsDivisorOf } from '../stack/settings.ts'
import { findSystemWithStore } from '../store-beside.ts'
import { asOperator } from '../system.ts'

export type VerifyJobsOptions = { data?: string; json?: boolean }

/** An end is told, and its media are deleted, a moment after it is written. */
const settledAfterMs = 10_000
const deletedWithinMs = 60_000
/** What needs no witness: who was promised what, and which faults there were, nobody wrote down. */
const toldByRemains: ReadonlySet<Verdict['invariant']> = new Set(['I2', 'I3', 'I4', 'I6'])

/**
 * `avatar verify-jobs`: whether records, events and bucket of a system agree about every job that has ended,
 * as the judge of `avatar chaos` sees it. Jobs under way, and those older than the stream of events, are left
 * out; the system may run.
 *
 * @returns 0 when nothing contradicts, else 1
 * @throws UserError when the store's keys are not at hand: they are those of the system of `--data`
 */
export async function verifyJobs(
  options: VerifyJobsOptions,
  { env, stdout }: CommandContext,
): Promise<number> {
  const { system, store } = await findSystemWithStore(options.data, env)
  try {
    const remains = await asOperator(system, (bus) => gatherEvidence(bus, store))
    const { sweepEveryMs, orphanAgeMs } = scaledTimings(timingsDivisorOf(env))
    const ended = endedOf(remains)
    const verdicts = judge({
      ...remains,
      accepted: ended,
      ...{ sightings: [], foreignAnswers: [], faults: [], orphanAgeMs, sweepEveryMs },
      deletionGraceMs: deletedWithinMs + 2 * sweepEveryMs,
    }).filter(({ invariant }) => toldByRemains.has(invariant))
    const isGood = verdicts.every(({ violations }) => violations.length === 0)
    const counts = { jobs: remains.records.length, looked_at: ended.length }
    stdout.write(
      options.json
        ? `${JSON.stringify({ ok: isGood, ...counts, invariants: verdicts })}\n`
        : `${verdictText(verdicts)}${counts.jobs} jobs; ${ended.length} have ended and were looked at\n`,
    )
    return isGood ? exitCodes.ok : exitCodes.failed
  } finally {
    store.stop()
  }
}

function endedOf({ records, nowMs }: Pick<Evidence, 'records' | 'nowMs'>): Accepted[] {
  const toldSinceMs = nowMs - streams.EVENTS.maxAgeMs
  return records
    .filter((record) => isTerminal(record) && record.createdAtMs > toldSinceMs)
    .filter(({ finishedAtMs = nowMs }) => finishedAtMs < nowMs - settledAfterMs)
    .map(({ jobId, owner }) => ({ jobId, owner, name: jobId }))
}
