import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type System, startSystem } from '../harness/index.ts'

describe('one job from submission to download', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem()
  }, 90_000)
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  }, 90_000)

  it('renders, stores and hands over exactly the announced video', async () => {
    const submitted = await system.client.submit({ seconds: 1.5 })
    expect(submitted.status).toBe(201)
    expect(submitted.headers.get('location')).toBe(`/status/${submitted.jobId}`)

    const view = await system.client.untilEnded(submitted.jobId, 'completed')
    expect(view).toMatchObject({ stage: 'completed', progress: 100, attempt: 1, error: null })

    const result = await system.client.result(submitted.jobId)
    expect(result).toMatchObject({ fps: 25, engine: 'null', degraded: false })
    expect(result.width / result.height).toBeCloseTo(16 / 9, 2)
    expect(Math.abs(result.video_seconds - 1.5)).toBeLessThanOrEqual(1 / 25)
    const video = await system.client.download(submitted.jobId)
    expect(video.length).toBe(result.bytes)
    expect(createHash('sha256').update(video).digest('hex')).toBe(result.sha256)
  }, 60_000)

  it('keeps a job from everybody else', async () => {
    const { jobId } = await system.client.submit()
    const stranger = system.clientWith(await system.createKey('stranger'))
    const theirs = await stranger.send(`/status/${jobId}`)
    const unknown = await stranger.send('/status/00000000-0000-4000-8000-000000000000')
    expect(theirs.status).toBe(404)
    expect((theirs.body as { error: unknown }).error).toEqual(
      (unknown.body as { error: unknown }).error,
    )
    await system.client.untilEnded(jobId, 'completed')
  }, 60_000)

  it('turns a revoked key away within five seconds', async () => {
    const key = await system.createKey('leaver')
    const leaver = system.clientWith(key)
    expect((await leaver.send('/jobs')).status).toBe(200)
    const revokedAt = performance.now()
    await system.cli('keys', 'revoke', '--name', 'leaver')
    await expect.poll(async () => (await leaver.send('/jobs')).status, { timeout: 5_000 }).toBe(401)
    expect(performance.now() - revokedAt).toBeLessThan(6_000)
  }, 30_000)
})
