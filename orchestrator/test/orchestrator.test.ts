import { type JobRecord, subjects } from '@avatar/contracts'
import { deletedEvent, factOf } from '@avatar/job-kit'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { inOneWorld, type World } from './world.ts'

let world: World
inOneWorld((opened) => {
  world = opened.world
})

const facts = async (job: JobRecord) =>
  (await world.operator.readStream('EVENTS', `evt.job.*.${job.jobId}`, 1, 100)).map(
    ({ subject }) => subject.split('.')[2],
  )

describe('the life of one job', () => {
  it('goes from submitted to completed, with its events, its deletion timer and its posting', async () => {
    const { worker, job, order } = await world.claimed()
    expect(order).toMatchObject({
      jobId: job.jobId,
      owner: job.owner,
      epoch: 1,
      frames: job.frames,
      deadlineSeconds: 600,
    })
    await worker.reports('started', job, 1)
    await world.reaches(job, 'rendering')
    expect((await worker.store(job, 1)).answer).toBe('grant')
    await worker.upload(job, 1)
    await worker.completes(job, 1)
    const done = await world.reaches(job, 'completed')
    expect(done.result).toMatchObject({ key: `jobs/${job.jobId}/out/1/video.mp4`, bytes: 5 })
    expect((done.expiresAtMs ?? 0) - (done.finishedAtMs ?? 0)).toBe(60_000)
    await until(async () => (await facts(job)).includes('completed'))
    expect(await facts(job)).toEqual(['submitted', 'queued', 'started', 'completed'])
    expect(await world.holds('SCHED', subjects.scheduledDeletion(job.jobId))).toBe(true)
    await until(() => world.posting(job), { what: 'the posting' })
  })

  it('takes through the presigned URL exactly the announced content, once', async () => {
    const { worker, job } = await world.claimed()
    const granted = await worker.store(job, 1)
    if (granted.answer !== 'grant') throw new Error(granted.answer)
    expect(granted.headers['content-type']).toBe('video/mp4')
    const put = (body: string) =>
      fetch(granted.url, { method: 'PUT', headers: granted.headers, body }).then((r) => r.status)
    expect(await put('vide0')).toBe(400)
    expect(await put('video')).toBe(200)
    expect(await put('video')).toBe(412)
  })

  it('is completed even if its started event never came', async () => {
    const { done } = await world.completed()
    expect(done.startedAtMs).toBeUndefined()
  })

  it('goes on with another attempt when the video is missing, or not as long as the audio', async () => {
    const missing = await world.claimed()
    await missing.worker.completes(missing.job, 1)
    expect(await world.reaches(missing.job, 'queued')).toMatchObject({ failures: 1, epoch: 1 })
    const short = await world.claimed()
    await short.worker.upload(short.job, 1)
    await short.worker.completes(short.job, 1, { frames: short.job.frames - 2 })
    expect(await world.reaches(short.job, 'queued')).toMatchObject({ failures: 1 })
  })

  it('ignores the result of a stale worker whose attempt was handed on', async () => {
    const { worker, job } = await world.claimed()
    await worker.reports('released', job, 1)
    await world.reaches(job, 'queued')
    const other = await world.createWorker('w2')
    expect(await other.takes(job)).toMatchObject({ epoch: 2 })
    await worker.upload(job, 1)
    await worker.completes(job, 1)
    expect(await worker.store(job, 1)).toEqual({ answer: 'lost' })
    await other.upload(job, 2)
    await other.completes(job, 2)
    expect((await world.reaches(job, 'completed')).result?.key).toContain('/out/2/')
  })
})

describe('cancelling', () => {
  it('ends a queued job at once, and no worker gets it', async () => {
    const job = await world.queued()
    expect(await world.cancel(job)).toEqual({ answer: 'cancelling' })
    await world.reaches(job, 'cancelled')
    world.letOnly(job.owner)
    expect(await (await world.createWorker()).asks()).toEqual({ answer: 'none' })
    expect(await world.cancel(job)).toEqual({ answer: 'terminal', state: 'cancelled' })
  })

  it('orders the worker to stop a running job and waits for its report', async () => {
    const { worker, job } = await world.claimed()
    const orders = await worker.collectStopOrders()
    await world.cancel(job)
    await world.reaches(job, 'cancelling')
    await until(() => orders.length > 0, { what: 'a stop order' })
    expect(orders[0]).toEqual({ jobId: job.jobId, epoch: 1 })
    expect((await worker.store(job, 1)).answer).toBe('stop')
    await worker.reports('cancelled', job, 1)
    await world.reaches(job, 'cancelled')
  })

  it('does not find a job of another owner', async () => {
    const { jobId } = await world.submit()
    expect(await world.cancel({ jobId, owner: 'o_stranger0000' })).toEqual({ answer: 'unknown' })
  })
})

describe('without any event, the orchestrator', () => {
  it('queues a job again whose worker fell silent, and stops the worker when it comes back', async () => {
    const { worker, job } = await world.rendering()
    expect(await world.reaches(job, 'queued')).toMatchObject({ deaths: 1, epoch: 1 })
    const orders = await worker.collectStopOrders()
    worker.sendsHeartbeat([{ job, epoch: 1 }])
    await until(() => orders.length > 0, { what: 'a stop order' })
    expect(orders[0]).toEqual({ jobId: job.jobId, epoch: 1 })
  })

  it('fails a job whose worker lets it run far past the deadline', async () => {
    const { worker, job } = await world.rendering()
    worker.sendsHeartbeat([{ job, epoch: 1, renderedForSeconds: 700 }])
    expect((await world.reaches(job, 'failed')).error?.code).toBe('DEADLINE_EXCEEDED')
  })

  it('picks up a job whose submission was never announced', async () => {
    const job = await world.submit({ announce: false })
    await world.reaches(job, 'queued')
  })

  it('fails a job that has waited longer than the queue allows', async () => {
    const job = await world.submit({ announce: false, createdAtMs: Date.now() - 25 * 3_600_000 })
    expect((await world.reaches(job, 'failed')).error?.code).toBe('QUEUE_TIMEOUT')
  })
})

describe('after a crash', () => {
  it('publishes the outputs when an event is redelivered whose record was already written', async () => {
    const job = await world.submit({ announce: false })
    await world.crashAfterWriting(job, { kind: 'submitted' })
    expect(await facts(job)).toEqual([])
    await world.announceSubmission(job)
    await until(async () => (await facts(job)).includes('queued'), { what: 'the event' })
  })

  it('publishes the end of a job once, however late an event has it published again', async () => {
    const { job } = await world.completed({ door: 'event', owner: 'acme' })
    await until(async () => (await facts(job)).includes('completed'))
    const postings = () =>
      world.operator.readStream('LEDGER', `ledger.job.*.*.*.${job.jobId}`, 1, 9)
    const [posted] = await until(async () => {
      const found = await postings()
      return found.length > 0 && found
    })

    await world.forgetMessageIds('EVENTS')
    await world.publishEvent(deletedEvent({ ...factOf(job, 0, Date.now()), epoch: 1 }, []))
    await until(async () => (await world.record(job))?.deletedAtMs !== undefined)
    await world.isIdle('orchestrator')
    expect((await facts(job)).filter((fact) => fact === 'completed')).toHaveLength(1)
    expect(
      await world.operator.readStream('NOTIFY', 'notify.acme.job.completed', 1, 9),
    ).toHaveLength(1)
    // The very same message: a second one would take the place of the first.
    expect(posted?.body).toMatchObject({ state: 'completed' })
    expect(await postings()).toEqual([posted])
  })

  it('survives a SIGKILL of the broker in the middle of a job', async () => {
    const { worker, job } = await world.claimed()
    // A worker that is silent while the connections come back would be lost, and rightly so.
    let isOver = false
    const sendHeartbeat = () => {
      worker.sendsHeartbeat([{ job, epoch: 1 }])
      return isOver
    }
    const heartbeats = until(sendHeartbeat, { everyMs: 100 })
    await world.nats.kill()
    await world.nats.start()
    await worker.upload(job, 1)
    // A worker publishes until the broker has stored the event, which it recognises by its id.
    const isTaken = () =>
      worker.completes(job, 1).then(
        () => true,
        () => false,
      )
    await until(isTaken, { what: 'the broker takes the event' })
    const done = await world.reaches(job, 'completed')
    expect(done).toMatchObject({ epoch: 1, losses: 0, deaths: 0 })
    isOver = true
    await heartbeats
  })

  it('waits for a store that is unavailable and renders nothing again', async () => {
    const { worker, job } = await world.claimed()
    await worker.upload(job, 1)
    await world.s3.kill()
    await worker.completes(job, 1)
    await world.reaches(job, 'storing')
    await world.s3.start()
    const done = await world.reaches(job, 'completed')
    expect(done).toMatchObject({ epoch: 1, failures: 0 })
  })
})
