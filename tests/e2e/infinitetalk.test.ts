import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  breakTinyWeights,
  film,
  hasEnginePackages,
  patientOrchestrator,
  prepareTinyWeights,
  type System,
  startSystem,
  tinyEngine,
  voice,
} from '../harness/index.ts'

const portrait = join(import.meta.dirname, '../../examples/portrait.jpg')
const isThere = hasEnginePackages()
if (!isThere) console.info('infinitetalk is skipped; to install it: npm run setup -- --with engine')

describe.skipIf(!isThere)('a job on the infinitetalk engine', () => {
  let system: System
  let weights: string
  let image: Buffer
  beforeAll(async () => {
    image = await readFile(portrait)
    weights = await mkdtemp(join(tmpdir(), 'avatar-weights-'))
    await prepareTinyWeights(weights)
    system = await startSystem({ env: { ...tinyEngine(weights), ...patientOrchestrator } })
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
    await rm(weights, { recursive: true, force: true })
  })

  /** Submits, waits for this end, and answers with the job's status. */
  async function ended(
    state: 'completed' | 'failed',
    files: Record<string, Buffer>,
    fields: Record<string, string>,
  ) {
    const { status, body, jobId } = await system.client.submitParts(files, fields)
    expect(status, JSON.stringify(body)).toBe(201)
    return system.client.untilEnded(jobId, state)
  }

  async function made(files: Record<string, Buffer>, fields: Record<string, string>) {
    const { job_id: jobId } = await ended('completed', files, fields)
    return system.client.result(jobId)
  }

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
    expect(result.sampling).toEqual({
      ...{ quality: 'standard', recipe: 'lightx2v-4', steps: 2, forwards: 2 },
    })
    expect(result).toMatchObject({ quality: 'standard', resumed: false })
    expect(result.checks).toHaveProperty('sharpnessMost')
    expect(Math.abs(result.video_seconds - 2)).toBeLessThanOrEqual(1 / 25)
    const video = await system.client.download(submitted.jobId)
    expect(createHash('sha256').update(video).digest('hex')).toBe(result.sha256)
  })

  it('films a picture without a face, and says so', async () => {
    const { jobId } = await system.client.submit({ seconds: 1 })
    await system.client.untilEnded(jobId, 'completed')
    const { warnings } = await system.client.result(jobId)
    expect(warnings.map(({ code }) => code)).toEqual(['FACE_NOT_FOUND'])
  })

  it('may have two voices, each where its box is, in the branch for two', async () => {
    const boxes = [
      { left: 0, top: 0, right: 0.5, bottom: 1 },
      { left: 0.5, top: 0, right: 1, bottom: 1 },
    ]
    const sounds = { audio: voice({ seconds: 1 }), audio2: voice({ seconds: 0.6 }) }
    const fields = { speaking: 'in_turn', speakers: '[[0,0,0.5,1],[0.5,0,1,1]]', quality: 'draft' }
    const result = await made({ image, ...sounds }, fields)
    expect(result).toMatchObject({
      ...{ engine: 'infinitetalk', speakers: 2, source: 'image', video_seconds: 1.6 },
      ...{ quality: 'draft', options: { speaking: 'in_turn', speakers: boxes } },
      sampling: { quality: 'draft', recipe: 'lightx2v-4' },
    })
    expect(result.engine_facts?.details).toMatchObject({ voices: '1 or 2' })
    expect(result.warnings.map(({ code }) => code)).not.toContain('LEFT_OUT')
    const health = await system.client.health()
    expect(health.workers[0]?.offers).toMatchObject({ speakers: 2, video: true })
  })

  it('fails before it renders where two people speak and one is shown', async () => {
    const files = { image, audio: voice({ seconds: 1 }), audio2: voice({ seconds: 1 }) }
    const view = await ended('failed', files, {})
    expect(view).toMatchObject({ attempt: 1, error: { code: 'SPEAKER_NOT_FOUND' } })
    expect(view.error?.message).toContain('1 face where two people speak')
  })

  it('may dub a source video, whose cut begins a scene', async () => {
    const video = await film({ picture: portrait, seconds: 2.4, cutAtSeconds: 1.2 })
    const result = await made({ video, audio: voice({ seconds: 3 }) }, { video_length: 'shorter' })
    expect(result).toMatchObject({
      ...{ engine: 'infinitetalk', source: 'video', speakers: 1, video_seconds: 2.4 },
      ...{ sampling: { quality: 'standard', steps: 2, forwards: 2 }, degraded: false },
    })
    expect(result.warnings.map(({ code }) => code)).not.toContain('LEFT_OUT')
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
