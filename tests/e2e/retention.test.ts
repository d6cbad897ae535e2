import { randomUUID } from 'node:crypto'
import { jobPrefix, metricName, outputKey } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type System, scrape, startSystem, until } from '../harness/index.ts'

const retentionSeconds = 6

describe('when the retention ends', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem({
      env: {
        VIDEO_RETENTION_HOURS: String(retentionSeconds / 3600),
        JANITOR_TIMINGS_DIVISOR: '1000', // A sweep every few seconds.
      },
    })
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  })

  const keysOf = async (jobId: string) => (await system.store()).keys(jobPrefix(jobId))
  const untilGone = (jobId: string) =>
    until(async () => (await keysOf(jobId)).length === 0, {
      what: `no objects of ${jobId}`,
    })

  it('the video and the inputs are deleted, and the API says so', async () => {
    const { jobId } = await system.client.submit()
    const view = await system.client.untilEnded(jobId, 'completed')
    const keptForMs = Date.parse(view.expires_at ?? '') - Date.parse(view.finished_at ?? '')
    expect(keptForMs).toBe(retentionSeconds * 1000)
    const { url } = await system.client.result(jobId)
    expect((await fetch(url)).status).toBe(200)
    expect(await keysOf(jobId)).toHaveLength(3)

    const after = await system.client.untilView(jobId, ({ deleted_at }) => deleted_at !== null)
    expect(Date.parse(after.deleted_at ?? '')).toBeGreaterThanOrEqual(
      Date.parse(view.expires_at ?? ''),
    )
    expect(after.status).toBe('completed')
    expect(await keysOf(jobId)).toEqual([])
    expect((await fetch(url)).ok).toBe(false)
    expect(await system.client.send(`/result/${jobId}`)).toMatchObject({
      status: 410,
      body: { error: { code: 'RESULT_DELETED' } },
    })
  })

  it('the API refuses the result even while the janitor is suspended', async () => {
    const { jobId } = await system.client.submit()
    const janitor = await system.pidOf('janitor')
    if (janitor === undefined) throw new Error('no janitor')
    await system.client.untilEnded(jobId, 'completed')
    process.kill(janitor, 'SIGSTOP')
    try {
      await until(async () => (await system.client.send(`/result/${jobId}`)).status === 410, {
        what: 'a 410',
      })
      expect(await keysOf(jobId)).not.toEqual([])
    } finally {
      process.kill(janitor, 'SIGCONT')
    }
    await untilGone(jobId)
  })

  it('the inputs of a failed job are deleted too', async () => {
    const { jobId } = await system.client.submit({ prompt: 'null:noface' })
    await system.client.untilEnded(jobId, 'failed')
    expect(await keysOf(jobId)).toHaveLength(2)
    await untilGone(jobId)
    await system.client.untilView(jobId, ({ deleted_at }) => deleted_at !== null)
  })

  it('the sweep finds what has no event: a late upload, and inputs without a job', async () => {
    const { jobId } = await system.client.submit()
    await system.client.untilView(jobId, ({ deleted_at }) => deleted_at !== null)
    const store = await system.store()
    await store.put(outputKey(jobId, 9), 'a stopped worker, continued')
    const nobodys = randomUUID()
    await store.put(`${jobPrefix(nobodys)}input/an-admission-that-died.png`, 'x')
    await untilGone(jobId)
    await untilGone(nobodys)
  })

  it('each of these deletions was measured once, and none was late', async () => {
    const { jobs } = await system.client.jobs()
    const lateness = metricName('deletion_lateness_seconds')
    const { series } = await scrape(system, 'janitor')
    const read = (name: string, le?: string) =>
      series.find((one) => one.name === name && one.labels['le'] === le)?.value
    expect(read(`${lateness}_count`)).toBe(jobs.length)
    expect(read(`${lateness}_bucket`, '15')).toBe(jobs.length)
  })
})
