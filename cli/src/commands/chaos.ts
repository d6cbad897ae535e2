import type { JobRecord } from '@avatar/contracts'
import { systemClock } from '@avatar/service-kit'
import { countFaults, leftOutWhole } from '../chaos/count-faults.ts'
import { type FaultKind, planChaos } from '../chaos/plan.ts'
import { type ChaosReport, runChaos } from '../chaos/run-chaos.ts'
import { verdictText } from '../chaos/verdict-text.ts'
import type { CommandContext } from '../command-context.ts'
import { exitCodes } from '../exit-codes.ts'
import { prefixedLines } from '../stack/log-lines.ts'
import { listenForStop } from '../stop-signals.ts'
import { table } from '../table.ts'

export type ChaosOptions = {
  seed?: number
  minutes: number
  jobsPerMinute?: number
  only?: readonly FaultKind[]
  json?: boolean
  log?: boolean
}

const seeds = 1_000_000

/**
 * `avatar chaos`: a system of its own under load and under faults, and whether it kept its promises.
 *
 * @returns 0 when every invariant holds and each kind of fault that was asked for by name has happened, else 1
 */
export async function chaos(options: ChaosOptions, context: CommandContext): Promise<number> {
  const { env, stdout, stderr, signals } = context
  const seed = options.seed ?? systemClock.nowMs() % seeds
  const plan = planChaos(seed, options.minutes, options.only, options.jobsPerMinute)
  stderr.write(`seed ${seed}: ${plan.faults.length} faults, ${plan.jobs.length} jobs\n`)
  const stop = listenForStop(signals, systemClock)
  const write = options.log
    ? prefixedLines((line) => stderr.write(line), { hasColours: false, nowMs: systemClock.nowMs })
    : () => undefined
  try {
    const report = await runChaos(plan, { env, write, signal: stop.requested })
    if (stop.requested.aborted) return exitCodes.interrupted
    stdout.write(
      options.json ? `${JSON.stringify(viewOf(report, options))}\n` : textOf(report, options),
    )
    for (const { kind, why } of missingOf(report, options))
      stderr.write(`avatar: no ${kind} happened: ${why}\n`)
    return isKept(report, options) ? exitCodes.ok : exitCodes.failed
  } finally {
    stop.forget()
  }
}

/** The faults that were asked for by name and never happened. */
function missingOf(report: ChaosReport, { only }: ChaosOptions) {
  return leftOutWhole(countFaults(report), only)
}

function isKept(report: ChaosReport, options: ChaosOptions): boolean {
  const holds = report.verdicts.every(({ violations }) => violations.length === 0)
  return holds && report.unsettled === undefined && missingOf(report, options).length === 0
}

function viewOf(report: ChaosReport, options: ChaosOptions) {
  const { plan, verdicts, unsettled, settledMs } = report
  return {
    seed: plan.seed,
    minutes: plan.durationMs / 60_000,
    kept: isKept(report, options),
    invariants: verdicts,
    faults: Object.fromEntries(countFaults(report).map(({ kind, done }) => [kind, done])),
    left_out: Object.fromEntries(
      countFaults(report).flatMap(({ kind, missing, why }) => (missing ? [[kind, why]] : [])),
    ),
    jobs: { accepted: report.accepted, ...endsOf(report.records) },
    settled_seconds: Math.round(settledMs / 100) / 10,
    unsettled: unsettled ?? null,
  }
}

function textOf(report: ChaosReport, { only, jobsPerMinute }: ChaosOptions): string {
  const { plan, verdicts, unsettled, injected, settledMs } = report
  const faults = table(
    ['FAULT', 'HAPPENED', 'LEFT OUT'],
    countFaults(report).map(({ kind, done, missing, why }) => [
      ...[kind, String(done), missing ? `${missing}: ${why}` : ''],
    ]),
  )
  const ends = Object.entries(endsOf(report.records)).map(([end, count]) => `${count} ${end}`)
  const minutes = plan.durationMs / 60_000
  const load = jobsPerMinute === undefined ? '' : ` --jobs-per-minute ${jobsPerMinute}`
  const kinds = only ? ` --only ${only.join(',')}` : ''
  return [
    verdictText(verdicts),
    ...(unsettled === undefined ? [] : [`It did not come to rest: ${unsettled}.\n`]),
    `${faults}\n`,
    `${injected.length} faults, ${report.accepted} accepted: ${ends.join(', ')}; at rest ${(settledMs / 1000).toFixed(1)} s after the last fault\n`,
    `seed ${plan.seed}; again with: avatar chaos --seed ${plan.seed} --minutes ${minutes}${load}${kinds}\n`,
  ].join('')
}

/** How many jobs ended in each way; failures by their code. */
function endsOf(records: readonly JobRecord[]): Record<string, number> {
  const names = records.map(({ state, error }) => (error ? `${state} (${error.code})` : state))
  const counts = Map.groupBy(names, (name) => name)
  return Object.fromEntries([...counts].map(([name, those]) => [name, those.length]))
}
