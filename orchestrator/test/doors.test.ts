import {
  type CancelAnswer,
  type EventOf,
  eventId,
  type JobRecord,
  subjects,
} from '@avatar/contracts'
import { anEvent } from '@avatar/contracts/testing'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { inOneWorld, type Orchestrator, type World } from './world.ts'

let world: World
let orchestrator: Orchestrator
inOneWorld((opened) => {
  world = opened.world
  orchestrator = opened.orchestrator
})

async function queued(difference: Partial<JobRecord> = {}) {
  const job = await world.submit(difference)
  await world.reaches(job, 'queued')
  return job
}

const notes = async (owner: string) =>
  (await world.operator.readStream('NOTIFY', `notify.${owner}.>`, 1, 20)).map(
    ({ subject, body }) => ({
      subject,
      body: body as Record<string, unknown>,
    }),
  )

const deadLetterOf = (subject: string) =>
  until(
    async () =>
      (await world.operator.readStream('DLQ', 'dlq.>', 1, 100)).find(
        ({ body }) => (body as { subject: string }).subject === subject,
      )?.body as { code: string } | undefined,
    { what: `a dead letter about ${subject}` },
  )

describe('a job of another service', () => {
  it('is reported to it with a link when it is done, once', async () => {
    const worker = await world.createWorker()
    const job = await queued({ owner: 'acme', door: 'event', reference: 'my-17' })
    await worker.claim(job)
    await worker.upload(job, 1)
    await worker.completes(job, 1)
    const done = await world.reaches(job, 'completed')
    await until(async () => (await notes('acme')).length > 0, { what: 'a notification' })
    await worker.says('released', job, 1) // Any later event publishes the outputs again.
    await until(
      () => orchestrator.lines().filter((line) => line['jobId'] === job.jobId).length >= 3,
      { what: 'the later event' },
    )
    const [note, ...more] = await notes('acme')
    expect(more).toEqual([])
    expect(note).toMatchObject({
      subject: 'notify.acme.job.completed',
      body: {
        job_id: job.jobId,
        reference: 'my-17',
        status: 'completed',
        result: {
          bytes: 5,
          engine: 'preview',
          expires_at: new Date(done.expiresAtMs ?? 0).toISOString(),
        },
      },
    })
    const result = note?.body['result'] as { url: string } | undefined
    expect(await (await fetch(result?.url ?? '')).text()).toBe('video')
  })

  it('is reported with the reason when it failed or was cancelled', async () => {
    const worker = await world.createWorker()
    const failing = await queued({ owner: 'other', door: 'event', failures: 2 })
    await worker.claim(failing)
    await worker.says('failed', failing, 1)
    await world.reaches(failing, 'failed')
    const cancelled = await queued({ owner: 'third', door: 'event' })
    await world.operator.request(
      subjects.cancel,
      { jobId: cancelled.jobId, owner: 'third' },
      { timeoutMs: 10_000 },
    )
    await world.reaches(cancelled, 'cancelled')
    await until(async () => (await notes('other')).length > 0 && (await notes('third')).length > 0)
    expect((await notes('other'))[0]?.body).toMatchObject({
      status: 'failed',
      error: { code: 'RENDER_FAILED' },
    })
    const [note] = await notes('third')
    expect(note?.subject).toBe('notify.third.job.cancelled')
    expect(note?.body).not.toHaveProperty('result')
  })
})

describe('a request', () => {
  const ask = async (subject: string, body: unknown) =>
    (await world.operator.request(subject, body, { timeoutMs: 10_000 })) as { answer: string }

  it('that nobody can read is answered, not left hanging', async () => {
    for (const subject of [subjects.claim, subjects.store, subjects.cancel])
      expect(await ask(subject, { nonsense: true }), subject).toEqual({
        answer: 'error',
        code: 'INVALID_MESSAGE',
      })
  })

  it('about a job without a record is told to drop it', async () => {
    const job = await queued()
    const worker = await world.createWorker()
    const unknown = { ...job, owner: 'o_stranger0000' }
    expect(await worker.claim(unknown)).toEqual({ answer: 'drop' })
    expect(await worker.store(unknown, 1)).toEqual({ answer: 'drop' })
  })

  it('to claim somebody else’s attempt is put off, and a repeated one is answered the same', async () => {
    const job = await queued()
    const first = await world.createWorker('w1')
    const order = await first.claim(job)
    expect(order).toMatchObject({ answer: 'render', traceparent: job.traceparent })
    expect(await first.claim(job)).toMatchObject({ answer: 'render', epoch: 1 })
    const second = await world.createWorker('w2')
    expect(await second.claim(job)).toMatchObject({ answer: 'later', delayMs: expect.any(Number) })
    await first.says('started', job, 1)
    await world.reaches(job, 'rendering')
    expect((await first.claim(job)).answer).toBe('later')
  })

  it('to store or claim what has ended is told to drop it', async () => {
    const job = await queued()
    const worker = await world.createWorker()
    await worker.claim(job)
    await worker.upload(job, 1)
    await worker.completes(job, 1)
    await world.reaches(job, 'completed')
    expect(await worker.store(job, 1)).toEqual({ answer: 'drop' })
    expect(await worker.claim(job)).toEqual({ answer: 'drop' })
    const { answer, ...rest } = (await ask(subjects.cancel, {
      jobId: job.jobId,
      owner: job.owner,
    })) as CancelAnswer
    expect([answer, rest]).toEqual(['terminal', { state: 'completed' }])
  })
})

describe('an event', () => {
  it('about a job without a record is told in the log and disturbs nobody', async () => {
    const event = anEvent('render.started', { jobId: '00000000-0000-4000-8000-000000000001' })
    await world.publishEvent(event)
    const done = anEvent('render.completed', { jobId: '00000000-0000-4000-8000-000000000002' })
    await world.publishEvent(done)
    for (const { jobId } of [event, done])
      await until(() => orchestrator.lines().some((line) => line['jobId'] === jobId), {
        what: 'a line in the log',
      })
    const line = orchestrator.lines().find(({ jobId }) => jobId === event.jobId)
    expect(line).toMatchObject({
      level: 'warn',
      msg: 'event of an unknown job ignored',
      attempt: 1,
    })
  })

  it('that says of itself what its subject does not becomes a dead letter', async () => {
    const subject = 'evt.job.submitted.11111111-0000-4000-8000-000000000001'
    await world.operator.publish(subject, anEvent('job.queued'), { messageId: 'x1' })
    expect((await deadLetterOf(subject)).code).toBe('INVALID_MESSAGE')
    const completed = 'evt.render.completed.11111111-0000-4000-8000-000000000001'
    await world.operator.publish(completed, { ...anEvent('render.completed'), epoch: 0.5 })
    expect((await deadLetterOf(completed)).code).toBe('INVALID_MESSAGE')
  })

  it('of a deletion is noted on the record, and no timer is set again', async () => {
    const job = await queued()
    const { jobId, owner } = job
    await world.operator.request(subjects.cancel, { jobId, owner }, { timeoutMs: 10_000 })
    await world.reaches(job, 'cancelled')
    const event: EventOf<'job.deleted'> = {
      ...{ type: 'job.deleted', jobId, owner, epoch: 0, revision: 2 },
      atMs: Date.now(),
    }
    await world.operator.publish(subjects.event(event.type, jobId), event, {
      messageId: eventId(event),
    })
    const noted = await until(async () => {
      const record = await world.record(job)
      return record?.deletedAtMs ? record : undefined
    })
    expect(noted.state).toBe('cancelled')
  })

  it('of an overdue render, while its upload is not noted, fails the job', async () => {
    const worker = await world.createWorker()
    const job = await queued()
    await worker.claim(job)
    await worker.says('started', job, 1)
    await world.reaches(job, 'rendering')
    await world.publishEvent(
      anEvent('job.overdue', { jobId: job.jobId, owner: job.owner, epoch: 1 }),
    )
    expect((await world.reaches(job, 'failed')).error?.code).toBe('DEADLINE_EXCEEDED')
  })
})

describe('a video that is not what was announced', () => {
  it.each([
    ['another key', { key: 'jobs/b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11/out/1/video.mp4' }],
    ['another size', { bytes: 6 }],
    ['another checksum', { sha256: 'f'.repeat(64) }],
  ])('is refused: %s', async (fault, difference) => {
    const worker = await world.createWorker()
    const job = await queued()
    await worker.claim(job)
    await worker.upload(job, 1)
    await worker.completes(job, 1, difference)
    expect(await world.reaches(job, 'queued')).toMatchObject({ failures: 1 })
    const line = orchestrator
      .lines()
      .find((one) => one['jobId'] === job.jobId && one['code'] === 'OUTPUT_INVALID')
    expect(line).toMatchObject({ level: 'error', fault })
  })
})

describe('what the orchestrator tells of itself', () => {
  it('counts each state reached and the jobs that live, in Prometheus’ format', async () => {
    const job = await queued()
    const text = await until(async () => {
      const scraped = await orchestrator.metrics.scrape()
      return /infinitetalk_live_jobs\{[^}]*\} [1-9]/.test(scraped) && scraped
    })
    expect(text).toMatch(/infinitetalk_job_transitions_total\{state="queued",[^}]*\} [1-9]/)
    expect(text).not.toContain(job.jobId)
  })

  it('names job, attempt and trace in every line about a job', async () => {
    const worker = await world.createWorker()
    const job = await queued()
    await worker.claim(job)
    await worker.says('started', job, 1)
    await world.reaches(job, 'rendering')
    // Its worker falls silent.
    await world.reaches(job, 'queued', 15_000)
    const about = () => orchestrator.lines().filter(({ jobId }) => jobId === job.jobId)
    await until(() => about().some(({ msg }) => msg === 'attempt lost'))
    const traceId = job.traceparent.split('-')[1]
    for (const line of about().filter(({ subject }) => !String(subject).includes('render.')))
      expect(line).toMatchObject({ service: 'orchestrator', traceId, attempt: expect.any(Number) })
  })
})
