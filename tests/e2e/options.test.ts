import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { film, type System, startSystem, voice } from '../harness/index.ts'

const root = join(import.meta.dirname, '../..')
const face = join(root, 'examples/portrait.jpg')
const portrait = () => readFileSync(face)

describe.each(['null', 'preview'] as const)(
  'what a job may ask for, with the engine %s',
  (engine) => {
    let system: System
    let video: Buffer
    beforeAll(async () => {
      system = await startSystem({ env: { ENGINE: engine } })
      video = await film({ picture: face, seconds: 2 })
    })
    afterAll(async () => {
      expect(await system.stop()).toEqual([])
    })

    /** Submits, waits for the end, and answers with the result. */
    async function made(files: Record<string, Buffer>, fields: Record<string, string>) {
      const { status, body, jobId } = await system.client.submitParts(files, fields)
      expect(status, JSON.stringify(body)).toBe(201)
      await system.client.untilEnded(jobId, 'completed')
      return system.client.result(jobId)
    }

    it('is told on the result: quality, aspect, speaker and silence', async () => {
      const files = { image: portrait(), audio: voice({ seconds: 1 }) }
      const fields = { quality: 'high', aspect: '4:5', speaker: '0', lead_seconds: '1' }
      const result = await made(files, fields)
      expect(result).toMatchObject({
        ...{ engine, quality: 'high', speakers: 1, source: 'image', video_seconds: 2 },
        options: { quality: 'high', aspect: '4:5', speaker: 0, lead_seconds: 1 },
      })
      expect(result.width / result.height).toBeCloseTo(0.8, 1)
      expect(result.warnings.map(({ code }) => code)).toContain('LEFT_OUT')
    })

    it('is done with two voices and with a source video, and says what is left out', async () => {
      const files = {
        image: portrait(),
        audio: voice({ seconds: 1 }),
        audio2: voice({ seconds: 0.6 }),
      }
      const two = await made(files, { speaking: 'in_turn' })
      expect(two).toMatchObject({ speakers: 2, video_seconds: 1.6 })
      expect(two.warnings.find(({ code }) => code === 'LEFT_OUT')?.message).toContain(
        'second voice',
      )
      const fields = { video_length: 'shorter' }
      const dubbed = await made({ video, audio: voice({ seconds: 3 }) }, fields)
      expect(dubbed).toMatchObject({ source: 'video', video_seconds: 2 })
      expect(dubbed.warnings.find(({ code }) => code === 'LEFT_OUT')?.message).toContain(
        'source video',
      )
      const health = await system.client.health()
      expect(health.workers[0]?.offers).toMatchObject({ speakers: 2, video: true })
    })
  },
)
