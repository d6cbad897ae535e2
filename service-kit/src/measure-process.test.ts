import { afterEach, describe, expect, it } from 'vitest'
import { background } from './background.ts'
import { systemClock } from './clock.ts'
import { type Check, createHealth } from './health.ts'
import { createLog } from './log.ts'
import { measureProcess } from './measure-process.ts'
import { createMetrics, type Metrics } from './metrics.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

/** A process with one loop that turns and one that waits for ever, and what is logged. */
async function measured(checks: Record<string, Check> = {}) {
  const lines: Record<string, unknown>[] = []
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) }
  const metrics = createMetrics('janitor')
  const log = createLog('test', 'info', { destination, countLine: metrics.countLogLine })
  const clock = systemClock
  const agreement = { aheadMs: () => 1_500, agrees: () => true, isTrusted: () => true }
  const pass = (signal: AbortSignal) => clock.wait(3_600_000, signal)
  const loops = [
    background({ name: 'sweep', everyMs: 3_000, clock, log, pass }),
    background({ name: 'watch', everyMs: 500, silentForMs: Infinity, clock, log, pass }),
  ]
  const watched = { parts: () => loops, clock, agreement }
  const health = createHealth({ ...watched, checks, isStopping: () => false })
  measureProcess({ ...watched, metrics, health, log })
  for (const loop of loops) {
    await loop.start()
    stops.push(loop.stop)
  }
  stops.push(metrics.stop)
  return { metrics, log, lines, value: (series: string) => readValue(metrics, series) }
}

async function readValue(metrics: Metrics, series: string): Promise<number | undefined> {
  const line = (await metrics.scrape())
    .split('\n')
    .find((each) => each.startsWith(`infinitetalk_${series} `))
  return line === undefined ? undefined : Number(line.split(' ').at(-1))
}

describe('a process', () => {
  it('tells when it started, its memory, its version, its clock, and how late its loop turns', async () => {
    const { value, metrics } = await measured()
    const startedAt = Number(await value('process_start_timestamp_seconds'))
    expect(Math.abs(Date.now() / 1000 - process.uptime() - startedAt)).toBeLessThan(1)
    expect(await value('process_resident_memory_bytes')).toBeGreaterThan(1e6)
    expect(await value('clock_ahead_seconds')).toBe(1.5)
    expect(await metrics.scrape()).toMatch(/build_info\{version="\d+\.\d+\.\d+"\} 1\n/)
  })

  it('tells how late the event loop turned since the last scrape, and not what the watch costs', async () => {
    const { value } = await measured()
    const block = (ms: number) => {
      const endMs = performance.now() + ms
      while (performance.now() < endMs);
    }
    await systemClock.wait(50)
    block(400)
    await systemClock.wait(50)
    expect(await value('event_loop_delay_seconds')).toBeGreaterThan(0.2)
  })

  it('tells its dependencies as its readiness has them', async () => {
    let isThere = true
    const { value } = await measured({ store: async () => isThere, clock: async () => false })
    expect(await value('dependency_up{dependency="store"}')).toBe(1)
    isThere = false
    await expect.poll(() => value('dependency_up{dependency="store"}'), { timeout: 5_000 }).toBe(0)
    expect(await value('dependency_up{dependency="nats"}')).toBeUndefined()
    expect(await value('dependency_up{dependency="clock"}')).toBeUndefined()
  })

  it('tells when its loops came round, and none that may wait for ever', async () => {
    const { value } = await measured()
    const turnedAt = Number(await value('loop_last_pass_timestamp_seconds{loop="sweep"}'))
    expect(Math.abs(Date.now() / 1000 - turnedAt)).toBeLessThan(60)
    expect(await value('loop_period_seconds{loop="sweep"}')).toBe(3)
    expect(await value('loop_period_seconds{loop="watch"}')).toBeUndefined()
  })

  it('counts its lines by level, those of children too, and none below its level', async () => {
    const { log, value } = await measured()
    log.child({ jobId: 'x' }).warn('careful')
    log.info('well')
    log.debug('hush')
    expect(await value('log_lines_total{level="warn"}')).toBe(1)
    expect(await value('log_lines_total{level="info"}')).toBe(1)
    expect(await value('log_lines_total{level="debug"}')).toBe(0)
  })

  it('logs once that a metric cannot be read', async () => {
    const { metrics, lines } = await measured()
    metrics.of('janitor').sweep_last_success_timestamp_seconds.observe(() => {
      throw new Error('broken')
    })
    await metrics.scrape()
    await metrics.scrape()
    expect(lines.filter(({ msg }) => msg === 'a metric cannot be read')).toHaveLength(1)
  })
})
