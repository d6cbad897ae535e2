import { randomUUID } from 'node:crypto'
import { buckets, consumers, scaledTimings, scaleSummarySchema } from '@avatar/contracts'
import {
  type Bus,
  type Change,
  consumerLoop,
  createLog,
  createMetrics,
  readAll,
  seededRandom,
  systemClock,
} from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { SimulatedBroker } from '../testing/simulation/simulated-broker.ts'
import { simulatedBus } from '../testing/simulation/simulated-bus.ts'
import { SimulatedProcess, SimulatedTime } from '../testing/simulation/simulated-time.ts'
import { createWorld, type World } from './world.ts'

const timings = scaledTimings(1)
const log = createLog('test', 'silent')
const summary = { provider: 'none', pool: 'local', reason: 'no_jobs', sinceMs: 0 } as const
const told = (wanted: number) => ({ ...summary, wanted, coldStartSeconds: 1 })
const jobId = () => randomUUID()

/** The same promises, kept by the broker and by what stands for it in simulated lives. */
describe.each(['real', 'simulated'] as const)('the %s bus', (kind) => {
  let world: World | undefined
  let bus: Bus
  let isRunning = true
  let clock = systemClock
  beforeAll(async () => {
    if (kind === 'real') {
      world = await createWorld()
      bus = world.operator
      return
    }
    const time = new SimulatedTime()
    const broker = new SimulatedBroker(time, seededRandom(1), timings)
    const process = new SimulatedProcess(time, 'operator')
    bus = simulatedBus(broker, process, log)
    clock = process.clock
    void (async () => {
      while (isRunning) if (!(await time.step())) await systemClock.wait(1)
    })()
  })
  afterAll(async () => {
    isRunning = false
    await world?.stop()
  })

  it('stores a message id once, and a subject only from the sequence that was named', async () => {
    const subject = `evt.job.queued.${jobId()}`
    const options = { messageId: jobId() }
    expect(await bus.publish(subject, { nth: 1 }, options)).toBe('stored')
    expect(await bus.publish(subject, { nth: 2 }, options)).toBe('stored')
    const found = await bus.readStream('EVENTS', subject, 1, 10)
    expect(found.map(({ body }) => body)).toEqual([{ nth: 1 }])
    expect(await bus.publish(subject, { nth: 3 }, { lastSequence: 0 })).toBe('exists')
    const lastSequence = found[0]?.sequence ?? 0
    expect(await bus.publish(subject, { nth: 4 }, { lastSequence })).toBe('stored')
    expect((await bus.lastMessage('EVENTS', subject))?.body).toEqual({ nth: 4 })
    expect(await bus.lastMessage('EVENTS', `evt.job.queued.${jobId()}`)).toBeUndefined()
  })

  it('creates and changes a record by compare-and-set, and tells each change in order', async () => {
    const records = await bus.records(buckets.meta, scaleSummarySchema)
    const key = `k${jobId()}`
    expect(await records.find(key)).toBeUndefined()
    const first = Number(await records.create(key, told(1)))
    expect(await records.create(key, told(9))).toBe('exists')
    const stopping = new AbortController()
    const changes: Change<z.infer<typeof scaleSummarySchema>>[] = []
    let isCurrent = false
    const onCurrent = () => {
      isCurrent = true
    }
    const watching = (async () => {
      for await (const change of records.watch(stopping.signal, onCurrent, 0, key))
        changes.push(change)
    })()
    await until(() => isCurrent && changes.length === 1, { what: 'what was there before' })
    const second = Number(await records.update(key, told(2), first))
    expect(await records.update(key, told(3), first)).toBe('conflict')
    expect(await records.find(key)).toEqual({ value: told(2), revision: second })
    await until(() => changes.length === 2, { what: 'the change' })
    expect(changes.map(({ revision }) => revision)).toEqual([first, second])
    stopping.abort()
    await watching
  })

  it('answers a request, says when nobody listens, and gives each to one of a queue group', async () => {
    const subject = 'ctl.request.hello.local'
    expect(await bus.request(subject, {}, { timeoutMs: 5_000 })).toBeUndefined()
    let received = 0
    const answering = [1, 2].map(() =>
      bus.subscribe(
        subject,
        (message) => {
          received++
          message.respond({ echo: message.json() })
        },
        { queue: 'q' },
      ),
    )
    await bus.ping(5_000)
    expect(await bus.request(subject, { a: 1 }, { timeoutMs: 5_000 })).toEqual({ echo: { a: 1 } })
    for (const each of answering) each.stop()
    expect(received).toBe(1)
  })

  it('follows a stream from its beginning, and tells when it is current', async () => {
    const subjects = [jobId(), jobId()].map((id) => `ledger.job.2026-11.29.o_000000000009.${id}`)
    for (const subject of subjects) await bus.publish(subject, { subject })
    await bus.publish(subjects[0] ?? '', { again: true })
    const stored = await readAll((options) =>
      bus.followStream('LEDGER', 'ledger.job.2026-11.29.o_000000000009.*', options),
    )
    // The ledger keeps the latest of each subject.
    expect(stored.map(({ body }) => body)).toEqual([{ subject: subjects[1] }, { again: true }])
  })

  it('delivers an event until it is acknowledged, and publishes a scheduled message in time', async () => {
    const target = jobId()
    let deliveries = 0
    const loop = consumerLoop({
      ...{ bus, clock, log, concurrency: 4, metrics: createMetrics('janitor') },
      timings: { ...timings, handlerBackoffMs: 10 },
      spec: consumers(timings).janitor,
      schema: z.object({ jobId: z.string() }),
      async handle(body) {
        if (body.jobId !== target) return
        deliveries++
        if (deliveries < 3) throw new Error('not yet')
      },
    })
    await loop.start()
    const inASecondMs = (await bus.timeMs()) + 1_000
    await bus.schedule(`sched.delete.${target}`, `due.delete.${target}`, inASecondMs, {
      jobId: target,
    })
    await until(() => deliveries === 3, { what: 'the third delivery' })
    await until(async () => (await bus.consumerState(consumers(timings).janitor)).ackPending === 0)
    await loop.stop()
    expect(deliveries).toBe(3)
  })
})
