import { randomUUID } from 'node:crypto'
import {
  deadLetterSchema,
  jobKey,
  limits,
  type Notification,
  notificationSchema,
  publisherPermissions,
} from '@avatar/contracts'
import type { Bus } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { portrait, type RestWorld, useRestWorld, voice } from './rest-world.ts'

const world = useRestWorld()
let acme: Bus
let acmeRaw: Awaited<ReturnType<RestWorld['nats']['connectRawAs']>>
const image_key = 'intake/acme/face.jpg'
const audio_key = 'intake/acme/voice.wav'
const subject = 'intake.acme.job.submitted'

beforeAll(async () => {
  acme = await world.connectAs('acme')
  acmeRaw = await world.nats.connectRawAs('acme')
  await put(image_key, portrait)
  await put(audio_key, voice)
})

afterAll(() => acmeRaw.connection.close())

const put = (key: string, content: Uint8Array) => world.putObject(key, content)

/** The dead letter of the event whose payload contains this mark. */
const deadLetterOf = (mark: string) =>
  until(
    async () => {
      const letters = await world.operator.readStream('DLQ', 'dlq.intake.ingest', 1, 1000)
      return letters
        .map(({ body }) => deadLetterSchema.parse(body))
        .find(({ payload }) => payload.includes(mark))
    },
    { what: `a dead letter with ${mark}` },
  )

const jobsOfAcme = () => world.board.listOf('acme', undefined, 100)

/** The notification that acme gets about the submission with this reference. */
const notificationOf = (reference: string): Promise<Notification> =>
  until(async () => {
    const notes = await world.operator.readStream('NOTIFY', 'notify.acme.>', 1, 1000)
    return notes
      .map(({ body }) => notificationSchema.parse(body))
      .find((note) => note.reference === reference)
  })

describe('an event of another service', () => {
  it('becomes one job, also when it is published twice', async () => {
    const own = { prompt: 'hi', reference: 'r-1', priority: 'high' }
    const event = { image_key, audio_key, idempotency_key: 'once', ...own }
    await acme.publish(subject, event)
    await acme.publish(subject, event)
    const [listed] = await until(() => jobsOfAcme().length === 1 && jobsOfAcme())
    const job = (await world.jobs.find(jobKey('acme', listed?.jobId ?? '')))?.value
    expect(job).toMatchObject({ door: 'event', owner: 'acme', ...own })
    const facts = await world.operator.readStream(
      'EVENTS',
      `evt.job.submitted.${job?.jobId}`,
      1,
      10,
    )
    expect(facts).toHaveLength(1)
    await until(async () => {
      const { messages } = await world.operator.streamState('INTAKE')
      return messages === 0
    })
    expect(jobsOfAcme()).toHaveLength(1)
    const scraped = await world.metrics.scrape()
    expect(scraped).toMatch(/infinitetalk_jobs_accepted_total\{[^}]*door="event"[^}]*\} 1/)
  })

  it.each([
    [
      'names an object of another publisher',
      { audio_key: 'intake/other/voice.wav' },
      'FOREIGN_OBJECT',
    ],
    ['names a path out of its folder', { audio_key: 'intake/acme/../other/a' }, 'FOREIGN_OBJECT'],
    ['names a missing object', { audio_key: 'intake/acme/none' }, 'OBJECT_MISSING'],
    ['names an empty object', { image_key: 'intake/acme/empty' }, 'IMAGE_UNREADABLE'],
    ['names an image that is too large', { image_key: 'intake/acme/large' }, 'IMAGE_TOO_LARGE'],
    ['sends a voice as its portrait', { image_key: audio_key }, 'INVALID_IMAGE_FORMAT'],
    ['has an unknown field', { colour: 'blue' }, 'INVALID_MESSAGE'],
    ['has a priority that is none', { priority: 'urgent' }, 'INVALID_MESSAGE'],
  ])(
    'that %s is dead-lettered with its reason, and its publisher notified',
    async (_how, wrong, code) => {
      await put('intake/acme/empty', new Uint8Array())
      await put('intake/acme/large', new Uint8Array(limits.imageMaxBytes + 1))
      const reference = randomUUID()
      await acme.publish(subject, { image_key, audio_key, reference, ...wrong })
      expect(await deadLetterOf(reference)).toMatchObject({ code, subject, stream: 'INTAKE' })
      if (code === 'INVALID_MESSAGE') return // An invalid body has no reference to find it by.
      expect(await notificationOf(reference)).toMatchObject({ status: 'rejected', error: { code } })
    },
  )

  it('that reuses an idempotency key for another submission is rejected each time', async () => {
    const first = { image_key, audio_key, idempotency_key: 'used', reference: 'used-1' }
    await acme.publish(subject, first)
    await until(async () => (await world.operator.streamState('INTAKE')).messages === 0)
    for (const reference of ['used-2', 'used-3']) {
      await acme.publish(subject, { ...first, prompt: reference, reference })
      const note = await notificationOf(reference)
      expect(note).toMatchObject({ status: 'rejected', error: { code: 'IDEMPOTENCY_KEY_REUSED' } })
    }
  })

  it('that is not JSON is dead-lettered', async () => {
    const mark = randomUUID()
    acmeRaw.connection.publish(subject, `{"not json ${mark}`)
    expect(await deadLetterOf(mark)).toMatchObject({ code: 'INVALID_MESSAGE' })
  })

  it('that is nonsense, on every subject that its publisher may use, disturbs nobody', async () => {
    const before = jobsOfAcme().length
    const nonsense = ['', '{', '[]', 'null', '{"image_key":7}', '['.repeat(20_000), '\u0000']
    const fields = { image_key, audio_key, prompt: 'x'.repeat(9_000), seed: -1, reference: [] }
    for (const pattern of publisherPermissions('acme').publish)
      for (const payload of [...nonsense, JSON.stringify(fields)])
        acmeRaw.connection.publish(pattern.replace(/[*>]/g, 'x'), payload)
    await acmeRaw.connection.flush()
    await acme.publish(subject, { image_key, audio_key, idempotency_key: 'behind nonsense' })
    await until(() => jobsOfAcme().length === before + 1, { what: 'the good job' })
    expect((await deadLetterOf('"image_key":7')).code).toBe('INVALID_MESSAGE')
  })

  it('is refused by the broker when it is too large or on another publisher’s subject', async () => {
    const big = { image_key, audio_key, prompt: 'x'.repeat(limits.messageMaxBytes) }
    await expect(acme.publish(subject, big, { timeoutMs: 1_000 })).rejects.toThrow()
    const theirs = 'intake.other.job.submitted'
    const foreign = acme.publish(theirs, { image_key, audio_key }, { timeoutMs: 1_000 })
    await expect(foreign).rejects.toThrow()
    expect(await world.operator.readStream('INTAKE', theirs, 1, 1)).toEqual([])
  })

  it('holds nothing up when it is refused: the next one becomes a job', async () => {
    const before = jobsOfAcme().length
    for (let i = 0; i < 70; i++)
      await acme.publish(subject, { image_key: 'intake/acme/empty', audio_key, seed: i })
    await acme.publish(subject, { image_key, audio_key, idempotency_key: 'after' })
    await until(() => jobsOfAcme().length === before + 1)
    await until(async () => (await world.spooled()).length === 0)
  })
})

describe('an event that the broker would not deliver again', () => {
  it('still becomes a job', async () => {
    await world.intake.stop()
    const event = JSON.stringify({ image_key, audio_key, reference: 'forgotten' })
    const stored = await world.raw.connection.request(subject, event, { timeout: 20_000 })
    const { seq } = stored.json<{ seq: number }>()
    // As after a broker that stopped badly: the event is stored, and the ack floor is past it.
    await world.operator.resetConsumer({ stream: 'INTAKE', name: 'ingest' }, seq + 1)
    await world.intake.start()
    expect(await world.operator.ackFloor({ stream: 'INTAKE', name: 'ingest' })).toBe(seq)

    expect(await world.recall.runOnce()).toBe(false)
    await until(() => world.recall.runOnce(), { what: 'the recall' })
    await until(async () => (await world.operator.streamState('INTAKE')).messages === 0, {
      what: 'an empty intake',
    })
    const references = await Promise.all(
      jobsOfAcme().map(({ jobId }) => world.jobs.find(jobKey('acme', jobId))),
    )
    expect(references.map((found) => found?.value.reference)).toContain('forgotten')
    expect(await world.recall.runOnce()).toBe(false)
  })
})
