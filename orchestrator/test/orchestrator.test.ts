import { type JobRecord, subjects } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { inOneWorld, type World } from './world.ts'

let world: World
inOneWorld((opened) => {
  world = opened.world
})

async function claimed(difference: Partial<JobRecord> = {}) {
  const worker = await world.createWorker()
  const job = await world.submit(difference)
  await world.reaches(job, 'queued')
  const order = await worker.claim(job)
  if (order.answer !== 'render') throw new Error(`not claimed but ${order.answer}`)
  return { worker, job, order }
}

const facts = async (job: JobRecord) =>
  (await world.operator.readStream('EVENTS', `evt.job.*.${job.jobId}`, 1, 100)).map(
    ({ subject }) => subject.split('.')[2],
  )

describe('the way of one job', () => {
  it('goes from submitted to completed, with its entry, its facts and its deletion timer', async () => {
    const { worker, job, order } = await claimed()
    expect(await world.holdsEntry(job)).toBe(true)
    expect(order).toMatchObject({ epoch: 1, frames: job.frames, deadlineSeconds: 600 })
    await worker.says('started', job, 1)
    await world.reaches(job, 'rendering')
    expect((await worker.store(job, 1)).answer).toBe('grant')
    await worker.upload(job, 1)
    await worker.completes(job, 1)
    const done = await world.reaches(job, 'completed')
    expect(done.result).toMatchObject({ key: `jobs/${job.jobId}/out/1/video.mp4`, bytes: 5 })
    expect((done.expiresAtMs ?? 0) - (done.finishedAtMs ?? 0)).toBe(60_000)
    await until(async () => (await facts(job)).includes('completed'))
    expect(await facts(job)).toEqual(['submitted', 'queued', 'started', 'completed'])
    await until(async () => !(await world.holdsEntry(job)), { what: 'the entry is purged' })
    expect(await world.operator.hasMessage('SCHED', subjects.scheduledDeletion(job.jobId))).toBe(
      true,
    )
  })

  it('uploads through the granted URL exactly what was announced, once', async () => {
    const { worker, job } = await claimed()
    const granted = await worker.store(job, 1)
    if (granted.answer !== 'grant') throw new Error(granted.answer)
    const put = (body: string) =>
      fetch(granted.url, { method: 'PUT', headers: granted.headers, body }).then((r) => r.status)
    expect(await put('vide0')).toBe(400)
    expect(await put('video')).toBe(200)
    expect(await put('video')).toBe(412)
  })

  it('completes a job whose started event never came', async () => {
    const { worker, job } = await claimed()
    await worker.upload(job, 1)
    await worker.completes(job, 1)
    await world.reaches(job, 'completed')
  })

  it('refuses a result whose object is missing, and another length than the audio', async () => {
    const missing = await claimed()
    await missing.worker.completes(missing.job, 1)
    expect(await world.reaches(missing.job, 'queued')).toMatchObject({ failures: 1, epoch: 1 })
    const short = await claimed()
    await short.worker.upload(short.job, 1)
    await short.worker.completes(short.job, 1, { frames: short.job.frames - 2 })
    expect(await world.reaches(short.job, 'queued')).toMatchObject({ failures: 1 })
  })

  it('ignores the result of a zombie whose attempt was handed on', async () => {
    const { worker, job } = await claimed()
    await worker.says('released', job, 1)
    await world.reaches(job, 'queued')
    const other = await world.createWorker('w2')
    expect(await other.claim(job)).toMatchObject({ answer: 'render', epoch: 2 })
    await worker.upload(job, 1)
    await worker.completes(job, 1)
    expect(await worker.store(job, 1)).toEqual({ answer: 'lost' })
    await other.upload(job, 2)
    await other.completes(job, 2)
    expect((await world.reaches(job, 'completed')).result?.key).toContain('/out/2/')
  })
})

describe('cancel', () => {
  const cancel = async (job: JobRecord) => {
    const { jobId, owner } = job
    return world.operator.request(subjects.cancel, { jobId, owner }, { timeoutMs: 10_000 })
  }

  it('ends a queued job at once and tells a worker to drop it', async () => {
    const job = await world.submit()
    await world.reaches(job, 'queued')
    expect(await cancel(job)).toEqual({ answer: 'cancelling' })
    await world.reaches(job, 'cancelled')
    expect(await (await world.createWorker()).claim(job)).toEqual({ answer: 'drop' })
    expect(await cancel(job)).toEqual({ answer: 'terminal', state: 'cancelled' })
  })

  it('tells the worker to stop a running one and waits for its word', async () => {
    const { worker, job } = await claimed()
    const orders: unknown[] = []
    worker.bus.subscribe(subjects.stop(worker.workerId), (message) => {
      orders.push(message.json())
    })
    await worker.bus.ping(1_000)
    await cancel(job)
    await world.reaches(job, 'cancelling')
    await until(() => orders.length > 0, { what: 'a stop order' })
    expect(orders[0]).toEqual({ jobId: job.jobId, epoch: 1 })
    expect((await worker.store(job, 1)).answer).toBe('stop')
    await worker.says('cancelled', job, 1)
    await world.reaches(job, 'cancelled')
  })

  it('does not know a job of another owner', async () => {
    const { jobId } = await world.submit()
    const foreign = { jobId, owner: 'o_stranger0000' }
    expect(await world.operator.request(subjects.cancel, foreign, { timeoutMs: 10_000 })).toEqual({
      answer: 'unknown',
    })
  })
})

describe('what no event tells', () => {
  it('queues a job again whose worker fell silent, and fences the worker that comes back', async () => {
    const { worker, job } = await claimed()
    await worker.says('started', job, 1)
    await world.reaches(job, 'rendering')
    expect(await world.reaches(job, 'queued')).toMatchObject({ deaths: 1, epoch: 1 })
    const orders: unknown[] = []
    worker.bus.subscribe(subjects.stop(worker.workerId), (message) => {
      orders.push(message.json())
    })
    await worker.bus.ping(1_000)
    worker.beats([{ job, epoch: 1 }])
    await until(() => orders.length > 0, { what: 'a stop order' })
    expect(orders[0]).toEqual({ jobId: job.jobId, epoch: 1 })
  })

  it('fails a render that its worker lets run far past the deadline', async () => {
    const { worker, job } = await claimed()
    await worker.says('started', job, 1)
    await world.reaches(job, 'rendering')
    worker.beats([{ job, epoch: 1, renderedForSeconds: 700 }])
    expect((await world.reaches(job, 'failed')).error?.code).toBe('DEADLINE_EXCEEDED')
  })

  it('picks up a record whose submission was never announced', async () => {
    const job = await world.submit({ announce: false })
    await world.reaches(job, 'queued')
  })

  it('restores the lost entry of a queued job', async () => {
    const job = await world.submit()
    await until(() => world.holdsEntry(job))
    await world.operator.purge('GPU', subjects.gpuWork(job.jobId))
    expect(await world.holdsEntry(job)).toBe(false)
    await until(() => world.holdsEntry(job), { what: 'a new entry' })
  })

  it('replaces an entry that the broker will never give out', async () => {
    const job = await world.submit()
    await until(() => world.holdsEntry(job))
    const before = await world.sequenceOfEntry(job)
    await world.forgetEntries()
    expect(await world.pullsEntry(job)).toBe(false)
    await until(async () => (await world.sequenceOfEntry(job)) !== before, {
      what: 'another entry',
    })
    expect(await world.pullsEntry(job)).toBe(true)
  })

  it('fails a job that waited longer than the queue allows, and buries what it cannot read', async () => {
    const job = await world.submit({ announce: false, createdAtMs: Date.now() - 25 * 3_600_000 })
    expect((await world.reaches(job, 'failed')).error?.code).toBe('QUEUE_TIMEOUT')
    await world.operator.publish('evt.render.started.x', { nonsense: true })
    await until(async () => (await world.operator.readStream('DLQ', 'dlq.>', 1, 10)).length > 0, {
      what: 'a dead letter',
    })
    const [letter] = await world.operator.readStream('DLQ', 'dlq.>', 1, 10)
    expect(letter?.body).toMatchObject({ code: 'INVALID_MESSAGE', subject: 'evt.render.started.x' })
  })
})

describe('a crash between two lines', () => {
  it('publishes the outputs again when an event is redelivered after the record was written', async () => {
    const job = await world.submit({ announce: false })
    await world.crashAfterWriting(job, { kind: 'submitted' })
    expect(await world.holdsEntry(job)).toBe(false)
    await world.announceSubmission(job)
    await until(() => world.holdsEntry(job), { what: 'the entry' })
  })

  it('tells the end of a job once, however late an event makes it publish again', async () => {
    const { worker, job } = await claimed({ door: 'event', owner: 'acme' })
    await worker.upload(job, 1)
    await worker.completes(job, 1)
    await world.reaches(job, 'completed')
    await until(async () => (await facts(job)).includes('completed'))

    await world.forgetMessageIds('EVENTS')
    await world.publishEvent({
      type: 'job.deleted',
      jobId: job.jobId,
      owner: job.owner,
      epoch: 1,
      revision: 0,
      atMs: Date.now(),
    })
    await until(async () => (await world.record(job))?.deletedAtMs !== undefined)
    await world.isIdle('orchestrator')
    expect((await facts(job)).filter((fact) => fact === 'completed')).toHaveLength(1)
    expect(
      await world.operator.readStream('NOTIFY', 'notify.acme.job.completed', 1, 9),
    ).toHaveLength(1)
  })

  it('survives kill -9 of the broker in mid-job', async () => {
    const { worker, job } = await claimed()
    // A worker that is silent while the connections come back would be lost, and rightly so.
    let isOver = false
    const beats = () => {
      worker.beats([{ job, epoch: 1 }])
      return isOver
    }
    const beating = until(beats, { timeoutMs: 60_000, everyMs: 100 })
    await world.nats.kill()
    await world.nats.start()
    await worker.upload(job, 1)
    // As a worker does: until the broker, which knows the event by its id, has taken it.
    const isTaken = () =>
      worker.completes(job, 1).then(
        () => true,
        () => false,
      )
    await until(isTaken, { what: 'the broker takes the event' })
    const done = await world.reaches(job, 'completed', 20_000)
    expect(done).toMatchObject({ epoch: 1, losses: 0, deaths: 0 })
    isOver = true
    await beating
  })

  it('waits for a store that is away and renders nothing again', async () => {
    const { worker, job } = await claimed()
    await worker.upload(job, 1)
    await world.s3.kill()
    await worker.completes(job, 1)
    await world.reaches(job, 'storing')
    await world.s3.start()
    const done = await world.reaches(job, 'completed', 20_000)
    expect(done).toMatchObject({ epoch: 1, failures: 0 })
  })
})
