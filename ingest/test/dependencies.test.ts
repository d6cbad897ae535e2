import { mkdir, mkdtemp, readdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { equalShares, subjects, timings } from '@avatar/contracts'
import { createLog, systemClock } from '@avatar/service-kit'
import { mountSmallDisk, until } from '@avatar/service-kit/testing'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createBoard } from '../src/board.ts'
import { wav } from './media-fixtures.ts'
import { createRestWorld, portrait, type RestWorld, useRestWorld } from './rest-world.ts'

const divisor = 10
const world = useRestWorld({ divisor })

const refusal = (answer: Awaited<ReturnType<RestWorld['call']>>) => {
  const { error } = answer.body as unknown as { error: { code: string; details: object } }
  // A failure that is not the caller's reveals nothing of our insides.
  expect(error?.details).toEqual({})
  return `${answer.status} ${error.code} ${answer.headers.get('retry-after')}`
}

describe('an unavailable store', () => {
  it('makes submissions a 503 with Retry-After, without a job', async () => {
    const { records } = await world.traces()
    await world.s3.kill()
    expect(refusal(await world.generate())).toBe('503 STORE_UNAVAILABLE 2')
    const health = await world.call('/health')
    expect(health.status).toBe(503)
    expect(health.body['data']).toMatchObject({ nats: 'ok', storage: 'unavailable' })
    await world.s3.start()
    expect((await world.traces()).records).toBe(records)
    await until(async () => (await world.generate()).status === 201)
    expect((await world.call('/health')).status).toBe(200)
  })

  it('makes them a 503 in bounded time while it stalls', async () => {
    process.kill(world.s3.pid(), 'SIGSTOP')
    try {
      const began = performance.now()
      expect(refusal(await world.generate())).toBe('503 STORE_UNAVAILABLE 2')
      expect(performance.now() - began).toBeLessThan(15_000)
      expect((await world.call('/health')).status).toBe(503)
    } finally {
      process.kill(world.s3.pid(), 'SIGCONT')
    }
    await until(async () => (await world.generate()).status === 201)
  })
})

describe('a fault of a medium', () => {
  it('is reported as such while the store is unavailable', async () => {
    await world.s3.kill()
    const { status, body } = await world.generate({ audio: wav({ seconds: 0 }) })
    expect([status, body['error']]).toMatchObject([400, { code: 'AUDIO_EMPTY' }])
    await world.s3.start()
    await until(async () => (await world.generate()).status === 201)
  })
})

describe('a cancel', () => {
  const cancel = (jobId: string) => world.call(`/cancel/${jobId}`, { method: 'POST' })

  it('is a 503 while no orchestrator answers, and nothing else is', async () => {
    const job = await world.putJob()
    expect(refusal(await cancel(job.jobId))).toBe('503 ORCHESTRATOR_UNAVAILABLE 2')
    expect((await world.call(`/status/${job.jobId}`)).status).toBe(200)
    expect((await world.generate()).status).toBe(201)
  })

  it('gets the answer that the orchestrator gives', async () => {
    const answers: unknown[] = [
      { answer: 'cancelling' },
      { answer: 'terminal', state: 'completed' },
      { answer: 'unknown' },
      { answer: 'error', code: 'BROKER_UNAVAILABLE' },
    ]
    const asked: unknown[] = []
    const orchestrator = await world.connectAs('orchestrator')
    orchestrator.subscribe(subjects.cancel, (message) => {
      asked.push(message.json())
      message.respond(answers.shift())
    })
    await orchestrator.ping(1_000)
    const { jobId, owner } = await world.putJob()
    const ok = await cancel(jobId)
    expect([ok.status, ok.body['data']]).toEqual([200, { job_id: jobId, status: 'cancelling' }])
    const finished = await cancel(jobId)
    expect(finished.status).toBe(409)
    expect(finished.body['error']).toMatchObject({
      code: 'JOB_ALREADY_FINISHED',
      details: { status: 'completed' },
    })
    expect((await cancel(jobId)).status).toBe(404)
    expect((await cancel(jobId)).status).toBe(503)
    expect(asked).toEqual(Array(4).fill({ jobId, owner }))
  })
})

describe('the board', () => {
  it('has read all jobs when its start resolves', async () => {
    for (let i = 0; i < 200; i++) await world.putJob({ state: 'completed' })
    const deps = { records: world.jobs, clock: systemClock, log: createLog('test', 'silent') }
    const board = createBoard({ ...deps, fairRules: equalShares(timings) })
    await board.start()
    expect(board.listOf(world.mine.owner, undefined, 1_000).length).toBeGreaterThanOrEqual(200)
    await board.stop()
  })
})

describe('a full disk', () => {
  it('is cleared of leftovers, refuses or delays what does not fit, and takes what fits', async (context) => {
    const disk = await mountSmallDisk(await mkdtemp(join(tmpdir(), 'avatar-disk-')), 2 * 2 ** 20)
    if (!disk) return context.skip('only root may mount a small disk')
    onTestFinished(disk.unmount)
    const small = await createRestWorld({ divisor, spoolParent: disk.path })
    try {
      await mkdir(join(small.spoolDir, 'left-by-a-crash'))
      await writeFile(join(small.spoolDir, 'left-by-a-crash', 'image'), Buffer.alloc(2 ** 20))
      const answer = await small.generate({ audio: wav({ seconds: 60 }) })
      expect(refusal(answer)).toBe('503 STORAGE_FULL 2')
      expect(await readdir(small.spoolDir)).toEqual([])
      expect((await small.traces()).records).toBe(0)
      expect((await small.generate({ audio: wav({ seconds: 1 }) })).status).toBe(201)

      const keys = { image_key: 'intake/acme/face.jpg', audio_key: 'intake/acme/voice.wav' }
      await small.putObject(keys.image_key, portrait)
      await small.putObject(keys.audio_key, wav({ seconds: 60 }))
      const acme = await small.connectAs('acme')
      await acme.publish('intake.acme.job.submitted', keys)
      const [line = ''] = await until(() => {
        const lines = small.logged('no room for the inputs of an event')
        return lines.length > 5 && lines
      })
      expect(JSON.parse(line)).toMatchObject({ level: 'error', code: 'STORAGE_FULL' })
      expect((await small.operator.streamState('DLQ')).messages).toBe(0)
    } finally {
      await small.stop()
    }
  })
})

describe('an unavailable broker', () => {
  it('makes every route a 503 with Retry-After in bounded time', async () => {
    const { jobId } = await world.putJob()
    await world.nats.kill()
    const began = performance.now()
    const answers = await Promise.all([
      world.generate(),
      world.call('/jobs'),
      world.call(`/status/${jobId}`),
      world.call(`/result/${jobId}`),
      world.call(`/events/${jobId}`),
      world.call(`/cancel/${jobId}`, { method: 'POST' }),
    ])
    for (const answer of answers) expect(refusal(answer)).toBe('503 BROKER_UNAVAILABLE 2')
    expect(performance.now() - began).toBeLessThan(20_000)
    const health = await fetch(`${world.url}/health`)
    expect([health.status, health.headers.get('retry-after')]).toEqual([503, '2'])
    await world.nats.start()
    await until(async () => (await world.generate()).status === 201)
  })
})
