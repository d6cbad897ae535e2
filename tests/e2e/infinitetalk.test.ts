import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  breakTinyWeights,
  hasEnginePackages,
  patientOrchestrator,
  prepareTinyWeights,
  type System,
  startSystem,
  tinyEngine,
} from '../harness/index.ts'

const isThere = hasEnginePackages()
if (!isThere) console.info('infinitetalk is skipped; to install it: npm run setup -- --with engine')

describe.skipIf(!isThere)('a job on the infinitetalk engine', () => {
  let system: System
  let weights: string
  let image: Buffer
  beforeAll(async () => {
    image = await readFile(new URL('../../examples/portrait.jpg', import.meta.url))
    weights = await mkdtemp(join(tmpdir(), 'avatar-weights-'))
    await prepareTinyWeights(weights)
    system = await startSystem({ env: { ...tinyEngine(weights), ...patientOrchestrator } })
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
    await rm(weights, { recursive: true, force: true })
  })

  it('becomes a video of several chunks, as long as its voice, and reports how it was made', async () => {
    const submitted = await system.client.submit({
      image,
      seconds: 2,
      prompt: 'a woman is talking',
    })
    expect(submitted.status).toBe(201)
    const view = await system.client.untilEnded(submitted.jobId, 'completed')
    expect(view).toMatchObject({ progress: 100, attempt: 1, error: null })

    const result = await system.client.result(submitted.jobId)
    expect(result).toMatchObject({
      engine: 'infinitetalk',
      fps: 25,
      width: 960,
      height: 960,
      generation: { width: 32, height: 32 },
      warnings: [{ code: 'FACE_SMALL' }],
      degraded: false,
      engine_facts: { device: 'cpu', attention_backend: 'cpu' },
    })
    expect(result.engine_facts?.precision).toContain('fp8')
    expect(result.engine_facts?.details).toMatchObject({ recipe: 'lightx2v-4' })
    expect(result.checks).toHaveProperty('sharpnessMost')
    expect(Math.abs(result.video_seconds - 2)).toBeLessThanOrEqual(1 / 25)
    const video = await system.client.download(submitted.jobId)
    expect(createHash('sha256').update(video).digest('hex')).toBe(result.sha256)
  })

  it('fails before it renders when the portrait shows no face', async () => {
    const { jobId } = await system.client.submit({ seconds: 1 })
    const view = await system.client.untilEnded(jobId, 'failed')
    expect(view).toMatchObject({ attempt: 1, started_at: null, error: { code: 'NO_FACE' } })
  })

  it('may have a voice that is shorter than one window', async () => {
    const { jobId } = await system.client.submit({ image, seconds: 0.4 })
    await system.client.untilEnded(jobId, 'completed')
    expect(Math.abs((await system.client.result(jobId)).video_seconds - 0.4)).toBeLessThanOrEqual(
      1 / 25,
    )
  })

  it('can be cancelled while it renders, and the next job renders', async () => {
    const long = await system.client.submit({ image, seconds: 60 })
    await system.client.untilView(long.jobId, (one) => one.stage === 'rendering')
    expect((await system.client.cancel(long.jobId)).status).toBeLessThan(300)
    await system.client.untilEnded(long.jobId, 'cancelled')
    const next = await system.client.submit({ image, seconds: 1 })
    await system.client.untilEnded(next.jobId, 'completed')
  })

  it('is not delivered when its frames cannot be right, and fails with that code', async () => {
    expect(await system.stop()).toEqual([])
    await breakTinyWeights(weights)
    system = await startSystem({ env: { ...tinyEngine(weights), ...patientOrchestrator } })
    const { jobId } = await system.client.submit({ image, seconds: 1 })
    const view = await system.client.untilEnded(jobId, 'failed', 240_000)
    // It was rendered again before it was given up.
    expect(view).toMatchObject({ attempt: 3, error: { code: 'RENDER_BROKEN' } })
  })
})
