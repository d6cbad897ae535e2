import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { jobPrefix } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type System, startSystem, until } from '../harness/index.ts'

type Told = {
  ok: boolean
  leftovers: { place: string; job_id: string; what: string }[]
  stays: { what: string; days: number }[]
  removed: { job_id: string; objects: { key: string; bytes: number }[]; bytes: number }[]
}

describe('avatar verify-deletion', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem({ env: { VIDEO_RETENTION_HOURS: String(1 / 3600) } })
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

  it('finds nothing of all jobs together, and says what stays by design', async () => {
    const told = await verify()
    expect(told).toMatchObject({ ok: true, leftovers: [] })
    expect(told.stays.map(({ what, days }) => [what, days])).toContainEqual(['record', 30])
  })

  it('finds an event that repeats what a customer wrote', async () => {
    const prompt = 'null:seconds=0.3'
    const { jobId } = await system.client.submit({ prompt })
    await deleted(jobId)
    expect(await verify('--job', jobId)).toMatchObject({ ok: true })
    await (await system.broker()).storeFact('job.queued', jobId, { jobId, said: prompt })
    const what = `evt.job.queued.${jobId} repeats its prompt`
    expect((await verify()).leftovers).toEqual([{ place: 'events', job_id: jobId, what }])
  })
})
