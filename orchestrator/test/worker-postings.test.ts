import { provisionBroker } from '@avatar/backing-services'
import { createTestNats } from '@avatar/backing-services/testing'
import { type Beat, dayOf, scaledTimings, streams, subjects } from '@avatar/contracts'
import { type Bus, createLog, systemClock } from '@avatar/service-kit'
import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { workerPostings } from '../src/ledger/worker-postings.ts'

const timings = scaledTimings(100)
let nats: Awaited<ReturnType<typeof createTestNats>>
let orchestrators: Bus
let worker: Bus
let operator: Bus

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  await provisionBroker(nats.operator, timings)
  orchestrators = await nats.connectAs('orchestrator')
  worker = await nats.connectAs('sidecar')
  operator = await nats.connectAs('operator')
})

afterAll(async () => {
  await Promise.all([orchestrators, worker, operator].map((bus) => bus.stop()))
  await nats.stop()
})

const postings = () =>
  workerPostings({
    bus: orchestrators,
    clock: systemClock,
    log: createLog('test', 'silent'),
    timings,
    prices: { l40s: 530 },
  })

let idleSeconds = 0
function beat(workerId: string, state: Beat['state'] = 'ready') {
  const told: Beat = {
    ...{ workerId, incarnation: 'i1', engine: 'null', state, pool: 'l40s', jobs: [] },
    ...{ secondsPerVideoSecond: 1, atMs: Date.now() },
    time: { loadingSeconds: 1, idleSeconds: ++idleSeconds, renderingSeconds: 0 },
  }
  worker.publishCore(subjects.beat(workerId), told)
  return idleSeconds
}

const posted = async (workerId: string) =>
  (
    await operator.lastMessage(
      streams.LEDGER.name,
      subjects.workerPosting(dayOf(Date.now()), workerId, 'i1'),
    )
  )?.body

describe('the postings of workers', () => {
  itKeepsTheRunnableContract(() => {
    const runnable = postings()
    return {
      runnable,
      async atWork() {
        const name = `w-${crypto.randomUUID()}`
        beat(name, 'draining')
        const found = until(() => posted(name), { timeoutMs: 500 })
        return found.then(
          () => 1,
          () => 0,
        )
      },
    }
  })

  it('say the last of what a worker told, by whichever of two orchestrators', async () => {
    const [one, other] = [postings(), postings()]
    await Promise.all([one.start(), other.start()])
    let last = 0
    await until(async () => {
      last = beat('twice')
      return posted('twice')
    })
    const saysTheLast = async () =>
      expect
        .objectContaining({ idleSeconds: last, priceMicros: 530 })
        .asymmetricMatch(await posted('twice'))
    const { messages } = await operator.streamState(streams.LEDGER.name)
    for (const state of ['ready', 'draining'] as const) {
      last = beat('twice', state)
      await until(saysTheLast)
    }
    expect((await operator.streamState(streams.LEDGER.name)).messages).toBe(messages)
    await Promise.all([one.stop(), other.stop()])
  })
})
