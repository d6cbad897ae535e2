import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { jobPrefix } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Cut,
  patientOrchestrator,
  type System,
  startSystem,
  until,
  within,
} from '../harness/index.ts'

type Told = {
  ok: boolean
  leftovers: { place: string; job_id: string; what: string }[]
  removed: { job_id: string; objects: { key: string; bytes: number }[]; bytes: number }[]
}

describe('avatar verify-deletion', () => {
  let system: System
  beforeAll(async () => {
    const env = { ...patientOrchestrator, VIDEO_RETENTION_HOURS: String(3 / 3600) }
    system = await startSystem({ proxied: ['janitor', 'sidecar', 'orchestrator'], env })
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  })

  /** It ends with 1 when something stays. */
  async function verify(...args: string[]): Promise<Told> {
    const run = await system
      .cli('verify-deletion', '--json', ...args)
      .catch((error: { stdout: string }) => error)
    return JSON.parse(run.stdout)
  }

  const deleted = (jobId: string) =>
    system.client.untilView(jobId, ({ deleted_at }) => deleted_at !== null)

  it('names what was removed, and finds nothing afterwards', async () => {
    const { jobId } = await system.client.submit()
    await deleted(jobId)
    const told = await verify('--job', jobId)
    expect(told).toMatchObject({ ok: true, leftovers: [] })
    const [deletion] = told.removed
    expect(deletion?.objects).toHaveLength(3)
    expect(deletion?.bytes).toBeGreaterThan(10_000)
    for (const { key, bytes } of deletion?.objects ?? []) {
      expect(key.startsWith(jobPrefix(jobId))).toBe(true)
      expect(bytes).toBeGreaterThan(0)
    }
  })

  it('finds an object that came back, and a folder of a worker that was never emptied', async () => {
    const { jobId } = await system.client.submit()
    await deleted(jobId)
    const key = `${jobPrefix(jobId)}out/9/video.mp4`
    await (await system.store()).put(key, 'a stopped worker, continued')
    const folder = join(system.dataDir, 'spool', 'sidecar', jobId)
    await mkdir(folder)
    const told = await until(async () => {
      const now = await verify('--job', jobId)
      return now.leftovers.length === 2 && now
    })
    expect(told.ok).toBe(false)
    expect(told.leftovers).toEqual([
      { place: 'bucket', job_id: jobId, what: key },
      { place: 'spools', job_id: jobId, what: folder },
    ])
    await rm(folder, { recursive: true })
  })

  const event = (type: string) => ({ subject: new RegExp(`^evt\\.${type}\\.`) })
  const points: Record<string, ['janitor' | 'sidecar' | 'orchestrator', Cut]> = {
    'the janitor, after it deleted': ['janitor', { when: 'before', ...event('job.deleted') }],
    'the janitor, after it told': [
      'janitor',
      { when: 'before', subject: /^\$JS\.ACK\.SCHED\.janitor\./, payload: /^\+ACK/ },
    ],
    'the worker, with a spooled file': [
      'sidecar',
      { when: 'before', subject: /^ctl\.request\.store\./ },
    ],
    'the worker, after its upload': ['sidecar', { when: 'before', ...event('render.completed') }],
    'the orchestrator, before it set the timer': [
      'orchestrator',
      { when: 'before', subject: /^sched\.delete\./ },
    ],
  }
  for (const [name, [service, cut]] of Object.entries(points))
    it(`leaves nothing although a kill hits ${name}`, async () => {
      const reached = system.proxies.toBroker(service).cut(cut)
      const { jobId } = await system.client.submit()
      await within(reached, 60_000, `${name}`)
      await system.kill(service)
      await deleted(jobId)
      const told = await until(async () => {
        const now = await verify('--job', jobId)
        return now.ok && now
      })
      expect(told.leftovers).toEqual([])
      expect(told.removed.length).toBeGreaterThan(0)
      expect(await (await system.store()).keys(jobPrefix(jobId))).toEqual([])
    })

  it('finds nothing of all these jobs together', async () => {
    expect(await verify()).toMatchObject({ ok: true, leftovers: [] })
  })
})
