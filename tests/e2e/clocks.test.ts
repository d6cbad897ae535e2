import { jobPrefix } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { clocksAhead, type System, startSystem, until } from '../harness/index.ts'

const minute = 60
const hour = 60 * minute
const readinessSchema = z.object({
  status: z.string(),
  clock: z.object({ ok: z.boolean(), ahead_seconds: z.number() }),
})
const doctorSchema = z.object({
  findings: z.array(
    z.object({
      name: z.string(),
      isGood: z.boolean(),
      seen: z.string(),
      repair: z.string().optional(),
    }),
  ),
})

describe('a system whose machines disagree about the time', () => {
  let system: System
  const offsets = {
    ingest: 20 * minute,
    orchestrator: -20 * minute,
    janitor: 7 * hour,
    sidecar: 20 * minute,
  }
  beforeAll(async () => {
    const env = { ...clocksAhead(offsets), JANITOR_TIMINGS_DIVISOR: '1000' } // Sweeps every few seconds.
    system = await startSystem({ env })
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  })

  it('renders, tells every time in its order and truly, and deletes nothing', async () => {
    const beganMs = Date.now()
    const { jobId } = await system.client.submit()
    const view = await system.client.untilEnded(jobId, 'completed')
    const { created_at, queued_at, started_at, finished_at, expires_at } = view
    const times = [created_at, queued_at, started_at, finished_at].map((at) => Date.parse(at ?? ''))
    expect(times).toEqual(times.toSorted((a, b) => a - b))
    expect(times[0]).toBeGreaterThanOrEqual(beganMs - 1_000)
    expect(times.at(-1)).toBeLessThanOrEqual(Date.now() + 1_000)
    expect(Date.parse(expires_at ?? '') - Date.parse(finished_at ?? '')).toBe(6 * hour * 1000)

    const { url } = await system.client.result(jobId)
    const sweeps = () => system.lines.filter((line) => line.includes('objects swept')).length
    const before = sweeps()
    await until(() => sweeps() >= before + 2, { what: 'a whole sweep' })
    expect((await fetch(url)).status).toBe(200)
    expect(await (await system.store()).keys(jobPrefix(jobId))).toHaveLength(3)
  })

  it('says whose clock is wrong, and by how much', async () => {
    const { processes } = await system.stack()
    for (const name of ['ingest', 'orchestrator', 'janitor'] as const) {
      const answer = await fetch(`http://127.0.0.1:${processes[name].ports['metrics']}/readyz`)
      const { status, clock } = readinessSchema.parse(await answer.json())
      expect([name, clock.ok, status]).toEqual([
        ...[name, false, name === 'janitor' ? 'unready' : 'ready'],
      ])
      expect(Math.abs(clock.ahead_seconds - offsets[name])).toBeLessThan(2)
    }
    const health = await system.client.health()
    expect(Math.abs(health.clock_ahead_seconds - offsets.ingest)).toBeLessThan(2)
    expect(Math.abs((health.workers[0]?.clock_ahead_seconds ?? 0) - offsets.sidecar)).toBeLessThan(
      30,
    )
    const told = await system
      .cli('doctor', '--json')
      .catch((error: { stdout: string }) => ({ stdout: error.stdout }))
    const { findings } = doctorSchema.parse(JSON.parse(told.stdout))
    const clocks = findings.find(({ name }) => name === 'clocks')
    expect(clocks?.isGood).toBe(false)
    expect(clocks?.seen).toMatch(
      /^ingest (19|20) min .* ahead; orchestrator (19|20) min .* behind; janitor (7 h 0|6 h 59) min ahead; sidecar \(null\) (19|20) min .* ahead$/,
    )
    expect(clocks?.repair).toContain('set-ntp')
  })
})
