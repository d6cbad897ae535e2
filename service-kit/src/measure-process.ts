import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Runnable } from './background.ts'
import type { ClockAgreement } from './broker-clock.ts'
import type { Clock } from './clock.ts'
import type { Health } from './health.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'

/** How finely the delay of the event loop is watched, which its figures include. */
const resolutionMs = 20

/** Measures what every service has: the process, its loops, its dependencies and its clock. */
export function measureProcess(options: {
  metrics: Metrics
  health: Health
  parts: () => readonly Runnable[]
  clock: Clock
  agreement: ClockAgreement
  log: Log
}): void {
  const { metrics, health, parts, clock, agreement, log } = options
  const { shared } = metrics
  const startedAtSeconds = Date.now() / 1000 - process.uptime()
  const version = ownVersion()
  shared.process_start_timestamp_seconds.observe((tell) => tell(startedAtSeconds))
  shared.process_resident_memory_bytes.observe((tell) => tell(process.memoryUsage.rss()))
  shared.build_info.observe((tell) => tell(1, { version }))
  shared.clock_ahead_seconds.observe((tell) => tell(agreement.aheadMs() / 1000))

  const delay = monitorEventLoopDelay({ resolution: resolutionMs })
  delay.enable()
  shared.event_loop_delay_seconds.observe((tell) => {
    tell(Math.max(0, delay.percentile(99) / 1e9 - resolutionMs / 1000))
    delay.reset()
  })

  // The same answer as /readyz gives: two watches would disagree at the wrong moment.
  shared.dependency_up.observe(async (tell) => {
    const { checks } = await health.ready()
    for (const dependency of ['nats', 'store'] as const) {
      const check = checks[dependency]
      if (check) tell(check.ok ? 1 : 0, { dependency })
    }
  })

  const loops = () => parts().flatMap((part) => part.loops?.() ?? [])
  shared.loop_last_pass_timestamp_seconds.observe((tell) => {
    const nowMs = clock.nowMs()
    for (const { name, turnedMsAgo } of loops()) tell((nowMs - turnedMsAgo) / 1000, { loop: name })
  })
  shared.loop_period_seconds.observe((tell) => {
    for (const { name, periodMs } of loops()) tell(periodMs / 1000, { loop: name })
  })

  let isTold = false
  metrics.onScrapeErrors((errors) => {
    // A metric that cannot be read fails at each scrape.
    if (!isTold) log.warn({ err: errors[0], count: errors.length }, 'a metric cannot be read')
    isTold = true
  })
}

function ownVersion(): string {
  const text = readFileSync(join(import.meta.dirname, '../package.json'), 'utf8')
  return (JSON.parse(text) as { version: string }).version // Our own file.
}
