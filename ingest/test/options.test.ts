import { type JobRecord, jobKey, limits, subjects } from '@avatar/contracts'
import { aRender } from '@avatar/contracts/testing'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { portrait, useRestWorld, voice } from './rest-world.ts'

const world = useRestWorld()

type Answer = Awaited<ReturnType<typeof world.generate>>
const dataOf = ({ body }: Answer) => body['data'] as unknown as Record<string, unknown>
const errorOf = ({ body }: Answer) =>
  body['error'] as unknown as { code: string; message: string; details: Record<string, unknown> }

async function recordOf(answer: Answer): Promise<JobRecord> {
  const key = jobKey(world.mine.owner, String(dataOf(answer).job_id))
  const found = await world.jobs.find(key)
  if (!found) throw new Error('there is no such job')
  return found.value
}

const all = {
  ...{ quality: 'high', aspect: '4:5', speaker: '1', lead_seconds: '0', tail_seconds: '0' },
  ...{ expressiveness: '1.2', camera: 'drift' },
}
const recorded = {
  ...{ quality: 'high', aspect: '4:5', speaker: 1, leadSeconds: 0, tailSeconds: 0 },
  ...{ expressiveness: 1.2, camera: 'drift' },
}

describe('options of a submission', () => {
  it('are in the record, decide the delivered size, and are told by status and result', async () => {
    const answer = await world.generate({ fields: all })
    expect(answer.status).toBe(201)
    const job = await recordOf(answer)
    expect(job.how).toEqual(recorded)
    expect(job.delivery).toEqual({ width: 896, height: 1120 })
    const { leadSeconds, tailSeconds, ...same } = recorded
    const options = { ...same, lead_seconds: leadSeconds, tail_seconds: tailSeconds }
    const status = await world.call(`/status/${job.jobId}`)
    expect(dataOf(status).options).toEqual(options)
    const sampling = { quality: 'high', recipe: 'lightx2v-4', steps: 8, forwards: 16 } as const
    const rendered = aRender({ sampling, resumed: true })
    const done = { state: 'completed', result: rendered, finishedAtMs: Date.now() } as const
    const made = await world.putJob({ ...done, how: job.how, expiresAtMs: Date.now() + 60_000 })
    const result = dataOf(await world.call(`/result/${made.jobId}`))
    expect(result).toMatchObject({ quality: 'high', speakers: 1, source: 'image', options })
    expect(result).toMatchObject({ sampling, resumed: true })
  })

  it('leave no trace where none was sent: request, record and answer are as they always were', async () => {
    const headers = { 'idempotency-key': 'plain' }
    const answer = await world.generate({}, headers)
    const job = await recordOf(answer)
    for (const name of ['how', 'voices', 'source', 'priority']) expect(job).not.toHaveProperty(name)
    const status = dataOf(await world.call(`/status/${job.jobId}`))
    expect(status).not.toHaveProperty('options')
    const done = { state: 'completed', result: aRender(), finishedAtMs: Date.now() } as const
    const made = await world.putJob({ ...done, expiresAtMs: Date.now() + 60_000 })
    const result = dataOf(await world.call(`/result/${made.jobId}`))
    expect(result).toMatchObject({ quality: 'standard', speakers: 1, source: 'image' })
    expect(result).toMatchObject({ sampling: null, resumed: false })
    expect(result).not.toHaveProperty('options')
  })

  it('tell requests under one Idempotency-Key apart, only where they are given', async () => {
    const headers = { 'idempotency-key': 'with options' }
    expect((await world.generate({ fields: { quality: 'draft' } }, headers)).status).toBe(201)
    expect((await world.generate({ fields: { quality: 'draft' } }, headers)).status).toBe(200)
    const others: Record<string, string>[] = [
      ...[{}, { quality: 'high' }, { quality: 'draft', aspect: '1:1' }],
    ]
    for (const fields of others)
      expect((await world.generate({ fields }, headers)).status).toBe(422)
  })

  it('come in one JSON object as well', async () => {
    const metadata = JSON.stringify({ quality: 'draft', expressiveness: 0.5, speaker: '0,0,1,1' })
    const job = await recordOf(await world.generate({ fields: { metadata } }))
    const speaker = { left: 0, top: 0, right: 1, bottom: 1 }
    expect(job.how).toEqual({ quality: 'draft', expressiveness: 0.5, speaker })
  })

  it.each([
    [{ quality: 'ultra' }, 'quality', 'draft, standard or high'],
    [{ aspect: '21:9' }, 'aspect', '16:9'],
    [{ speaker: '9' }, 'speaker', '0 to 7'],
    [{ expressiveness: '2' }, 'expressiveness', '0.5 to 1.5'],
    [{ lead_seconds: '6' }, 'lead_seconds', '0 to 5'],
    [{ camera: 'zoom' }, 'camera', 'auto, still or drift'],
    [{ speaking: 'in_turn' }, 'speaking', 'audio2'],
    [{ video_length: 'video' }, 'video_length', 'video'],
  ])('are refused with the reason: %o', async (fields, field, reason) => {
    const answer = await world.generate({ fields })
    expect(answer.status).toBe(400)
    expect(errorOf(answer)).toMatchObject({ code: 'INVALID_REQUEST', details: { field } })
    expect(errorOf(answer).message).toContain(reason)
  })

  it('come by event too, and a wrong one is dead-lettered', async () => {
    const acme = await world.connectAs('acme')
    const image_key = 'intake/acme/face.jpg'
    const audio_key = 'intake/acme/voice.wav'
    await world.putObject(image_key, portrait)
    await world.putObject(audio_key, voice)
    const own = { quality: 'draft', aspect: '1:1', speaker: 0, lead_seconds: 0 }
    await acme.publish('intake.acme.job.submitted', { image_key, audio_key, ...own })
    const [listed] = await until(() => {
      const jobs = world.board.listOf('acme', undefined, 10)
      return jobs.length > 0 && jobs
    })
    const job = await world.jobs.find(jobKey('acme', listed?.jobId ?? ''))
    expect(job?.value.how).toEqual({ quality: 'draft', aspect: '1:1', speaker: 0, leadSeconds: 0 })
    await acme.publish('intake.acme.job.submitted', { image_key, audio_key, quality: 'ultra' })
    await until(async () => {
      const letters = await world.operator.readStream('DLQ', 'dlq.intake.ingest', 1, 10)
      return letters.length === 1
    })
  })
})

describe('what workers offer', () => {
  it('is listed by health, and null for one of an earlier version', async () => {
    const sidecar = await world.connectAs('sidecar')
    const beat = { incarnation: 'i1', engine: 'preview', state: 'ready', atMs: Date.now() }
    const common = { ...beat, secondsPerVideoSecond: 1, jobs: [] }
    const offers = {
      qualities: [{ quality: 'draft', secondsPerVideoSecond: 0.5 }],
      speakers: 2,
      video: true,
    }
    const health = await until(async () => {
      sidecar.publishCore(subjects.beat('new'), { ...common, workerId: 'new', offers })
      sidecar.publishCore(subjects.beat('old'), { ...common, workerId: 'old' })
      const { workers } = dataOf(await world.call('/health')) as { workers: { offers: unknown }[] }
      return workers.length === 2 && workers
    })
    expect(health.map((worker) => worker.offers)).toEqual(
      expect.arrayContaining([
        null,
        {
          qualities: [{ quality: 'draft', seconds_per_video_second: 0.5 }],
          speakers: 2,
          video: true,
        },
      ]),
    )
  })
})

it('takes as many turns as are allowed in one field', async () => {
  const turns = Array.from({ length: limits.turnsMax + 1 }, (_, at) => ({
    ...{ speaker: at % 2, start: at + 0.123456789, end: at + 0.987654321 },
  }))
  const answer = await world.generate({ fields: { turns: JSON.stringify(turns) } })
  expect(errorOf(answer).message).toContain('1 to 200 turns')
})
