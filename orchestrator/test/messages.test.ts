import { subjects } from '@avatar/contracts'
import { anEvent } from '@avatar/contracts/testing'
import { deletedEvent, factOf } from '@avatar/job-kit'
import { attemptTraceparent } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { inOneWorld, type Orchestrator, type World } from './world.ts'

let world: World
let orchestrator: Orchestrator
inOneWorld((opened) => {
  world = opened.world
  orchestrator = opened.orchestrator
})

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

describe('a publisher', () => {
  it('is notified once, with a presigned URL, when its job is done', async () => {
    const { worker, job, done } = await world.completed({
      ...{ owner: 'acme', door: 'event', reference: 'my-17' },
    })
    await until(async () => (await notes('acme')).length > 0, { what: 'a notification' })
    await worker.reports('released', job, 1) // Any later event publishes the outputs again.
    await until(() => orchestrator.linesAbout(job).length >= 3, { what: 'the later event' })
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

  it('is notified with the reason when its job failed or was cancelled', async () => {
    const { worker, job } = await world.claimed({ owner: 'other', door: 'event', failures: 2 })
    await worker.reports('failed', job, 1)
    await world.reaches(job, 'failed')
    const cancelled = await world.queued({ owner: 'third', door: 'event' })
    await world.cancel(cancelled)
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
  it('that does not follow its schema is answered with an error', async () => {
    const ofPool = [subjects.next, subjects.claim, subjects.store].map((of) => of('l40s'))
    for (const subject of [...ofPool, subjects.cancel])
      expect(
        await world.operator.request(subject, { nonsense: true }, { timeoutMs: 10_000 }),
        subject,
      ).toEqual({ answer: 'error', code: 'INVALID_MESSAGE' })
  })

  it('about a job without a record is answered with drop or lost', async () => {
    const job = await world.queued()
    const worker = await world.createWorker()
    const unknown = { ...job, owner: 'o_stranger0000' }
    expect(await worker.freshUrls(unknown, 1)).toEqual({ answer: 'lost' })
    expect(await worker.store(unknown, 1)).toEqual({ answer: 'drop' })
  })

  it('for fresh URLs is answered with the same order, to the worker that has the attempt', async () => {
    const { worker, job, order } = await world.claimed()
    expect(order.traceparent).toBe(attemptTraceparent({ ...job, epoch: 1 }))
    const fresh = await worker.freshUrls(job, 1)
    const { image, audio, ...settings } = order
    expect(fresh).toMatchObject({ ...settings, image: { sha256: image.sha256 } })
    await worker.reports('started', job, 1)
    const before = await world.reaches(job, 'rendering')
    expect((await worker.freshUrls(job, 1)).answer).toBe('render')
    expect(await world.record(job)).toEqual(before)
    const [other, reborn] = [await world.createWorker('w2'), await world.createWorker('w1', 'i2')]
    for (const asked of [
      other.freshUrls(job, 1),
      reborn.freshUrls(job, 1),
      worker.freshUrls(job, 2),
    ])
      expect(await asked).toEqual({ answer: 'lost' })
    expect(audio.url).toContain(job.audio.key)
  })

  it('to store a job that has ended is answered with drop, one for fresh URLs with lost', async () => {
    const { worker, job } = await world.completed()
    expect(await worker.store(job, 1)).toEqual({ answer: 'drop' })
    expect(await worker.freshUrls(job, 1)).toEqual({ answer: 'lost' })
    expect(await world.cancel(job)).toEqual({ answer: 'terminal', state: 'completed' })
  })
})

describe('an event', () => {
  it('about a job without a record is logged and does no harm', async () => {
    const event = anEvent('render.started', { jobId: '00000000-0000-4000-8000-000000000001' })
    await world.publishEvent(event)
    const done = anEvent('render.completed', { jobId: '00000000-0000-4000-8000-000000000002' })
    await world.publishEvent(done)
    for (const one of [event, done])
      await until(() => orchestrator.linesAbout(one).length > 0, { what: 'a line in the log' })
    expect(orchestrator.linesAbout(event)[0]).toMatchObject({
      level: 'warn',
      msg: 'event of an unknown job ignored',
      attempt: 1,
    })
  })

  it('whose type differs from its subject is dead-lettered', async () => {
    const subject = 'evt.job.submitted.11111111-0000-4000-8000-000000000001'
    await world.operator.publish(subject, anEvent('job.queued'), { messageId: 'x1' })
    expect((await deadLetterOf(subject)).code).toBe('INVALID_MESSAGE')
  })

  it('that does not follow its schema is dead-lettered', async () => {
    const started = 'evt.render.started.x'
    await world.operator.publish(started, { nonsense: true })
    expect(await deadLetterOf(started)).toMatchObject({ code: 'INVALID_MESSAGE', subject: started })
    const completed = 'evt.render.completed.11111111-0000-4000-8000-000000000001'
    await world.operator.publish(completed, { ...anEvent('render.completed'), epoch: 0.5 })
    expect((await deadLetterOf(completed)).code).toBe('INVALID_MESSAGE')
  })

  it('of a deletion is noted in the record, and no timer is set again', async () => {
    const job = await world.queued()
    await world.cancel(job)
    await world.reaches(job, 'cancelled')
    await world.publishEvent(deletedEvent(factOf(job, 2, Date.now()), []))
    const noted = await until(async () => {
      const record = await world.record(job)
      return record?.deletedAtMs ? record : undefined
    })
    expect(noted.state).toBe('cancelled')
  })

  it('of an overdue render fails the job, as long as its upload is not noted', async () => {
    const { job } = await world.rendering()
    const { jobId, owner } = job
    await world.publishEvent(anEvent('job.overdue', { jobId, owner, epoch: 1 }))
    expect((await world.reaches(job, 'failed')).error?.code).toBe('DEADLINE_EXCEEDED')
  })
})

describe('a stored video that is not the reported one', () => {
  it.each([
    ['another key', { key: 'jobs/b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11/out/1/video.mp4' }],
    ['another size', { bytes: 6 }],
    ['another checksum', { sha256: 'f'.repeat(64) }],
  ])('is refused: %s', async (fault, difference) => {
    const { worker, job } = await world.claimed()
    await worker.upload(job, 1)
    await worker.completes(job, 1, difference)
    expect(await world.reaches(job, 'queued')).toMatchObject({ failures: 1 })
    const line = orchestrator.linesAbout(job).find(({ code }) => code === 'OUTPUT_INVALID')
    expect(line).toMatchObject({ level: 'error', fault })
  })
})

describe('metrics and log', () => {
  it('count each state reached and the live jobs, in Prometheus’ format', async () => {
    const job = await world.queued()
    const text = await until(async () => {
      const scraped = await orchestrator.metrics.scrape()
      return /infinitetalk_jobs\{state="queued"\} [1-9]/.test(scraped) && scraped
    })
    expect(text).toMatch(/infinitetalk_job_transitions_total\{state="queued"\} [1-9]/)
    expect(text).not.toContain(job.jobId)
  })

  it('name job, attempt and trace in every line about a job', async () => {
    const { job } = await world.rendering()
    // Its worker falls silent.
    await world.reaches(job, 'queued')
    const lines = () => orchestrator.linesAbout(job)
    await until(() => lines().some(({ msg }) => msg === 'attempt lost'))
    const traceId = job.traceparent.split('-')[1]
    for (const line of lines().filter(({ subject }) => !String(subject).includes('render.')))
      expect(line).toMatchObject({ service: 'orchestrator', traceId, attempt: expect.any(Number) })
  })

  const failedLinesOf = (job: { jobId: string }) =>
    orchestrator
      .linesAbout(job)
      .filter(({ msg }) => msg === 'job failed')
      .map(({ level, code, attempt }) => ({ level, code, attempt }))

  it('have one line for a job that failed, at the level of its code, whatever events follow', async () => {
    const ours = await world.claimed({ failures: 2 })
    await ours.worker.reports('failed', ours.job, 1)
    await world.reaches(ours.job, 'failed')
    const { jobId } = ours.job
    await world.publishEvent(deletedEvent(factOf(ours.job, 0, Date.now()), []))
    await until(async () => (await world.record(ours.job))?.deletedAtMs !== undefined)
    const theirs = await world.claimed()
    const failed = anEvent('render.failed', {
      ...{ jobId: theirs.job.jobId, owner: theirs.job.owner, epoch: 1, code: 'NO_FACE' },
    })
    await world.publishEvent(failed)
    await world.reaches(theirs.job, 'failed')
    await world.isIdle('orchestrator')
    expect(failedLinesOf({ jobId })).toEqual([
      { level: 'error', code: 'RENDER_FAILED', attempt: 1 },
    ])
    expect(failedLinesOf(theirs.job)).toEqual([{ level: 'info', code: 'NO_FACE', attempt: 1 }])
    expect(await orchestrator.metrics.scrape()).toMatch(
      /infinitetalk_failures_total\{code="NO_FACE",blame="caller"\} 1\n/,
    )
  })

  it('have one line for a job whose third video was refused', async () => {
    const { worker, job } = await world.claimed({ failures: 2 })
    await worker.completes(job, 1)
    await world.reaches(job, 'failed')
    await world.isIdle('storage')
    expect(failedLinesOf(job)).toEqual([{ level: 'error', code: 'OUTPUT_INVALID', attempt: 1 }])
  })
})
