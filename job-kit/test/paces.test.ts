import { provisionBroker } from '@avatar/backing-services'
import { createTestNats } from '@avatar/backing-services/testing'
import { paceKeyOf, renderSecondsAt, scaledTimings } from '@avatar/contracts'
import { type Bus, createLog, systemClock } from '@avatar/service-kit'
import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  followPaces,
  learnColdStart,
  openPaces,
  type PaceRecords,
  type RenderLearner,
  renderLearner,
} from '../src/index.ts'

let nats: Awaited<ReturnType<typeof createTestNats>>
let bus: Bus
let records: PaceRecords

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  await provisionBroker(nats.operator, scaledTimings(1))
  bus = await nats.connectAs('orchestrator')
  records = await openPaces(bus)
})

afterAll(async () => {
  await bus.stop()
  await nats.stop()
})

const learner = (clock = systemClock) =>
  renderLearner({ records, clock, log: createLog('test', 'silent') })
type Learned = Parameters<RenderLearner['note']>

/** Learns from these renders as one process does. */
async function learnFrom(...renders: Learned[]) {
  const one = learner()
  await one.start()
  for (const each of renders) one.note(...each)
  await one.stop()
}
const follow = () => followPaces({ records, clock: systemClock, log: createLog('test', 'silent') })
const key = { engine: 'infinitetalk', size: '720p', device: 'NVIDIA L40S' }
const render = { frames: 100, seconds: 8, storingSeconds: 1, framesPerChunk: 25, atMs: 1 }

describe('the learner of renders', () => {
  itKeepsTheRunnableContract(() => {
    let waits = 0
    const wait = async (ms: number, signal?: AbortSignal) => {
      waits++
      await systemClock.wait(ms, signal)
      waits--
    }
    return { runnable: learner({ ...systemClock, wait }), atWork: () => waits }
  })
})

describe('learned paces', () => {
  itKeepsTheRunnableContract(() => {
    const runnable = follow()
    return { runnable, atWork: () => (runnable.isReady?.() ? 1 : 0) }
  })

  it('are known to whoever follows them, those from before its start too', async () => {
    await learnFrom([key, render])
    await learnColdStart(records, 'l40s', 40)
    const paces = follow()
    await paces.start()
    await until(() => paces.isReady?.())
    expect(paces.startSecondsOf('l40s')).toBe(40)
    expect(paces.startSecondsOf('h100')).toBeUndefined()
    await learnFrom([key, { ...render, frames: 200, seconds: 14 }])
    const name = paceKeyOf(key)
    await until(() => paces.ofRenders().get(name)?.samples === 2)
    const pace = paces.ofRenders().get(name)
    expect(pace && renderSecondsAt(pace, 300)).toBeCloseTo(20)
    await paces.stop()
  })

  it('take the samples of several processes, less those that lose three times', async () => {
    const other = { ...key, size: '480p' }
    await Promise.all(Array.from({ length: 12 }, () => learnFrom([other, render])))
    expect(await samplesOf(other)).toBeGreaterThanOrEqual(3)
  })

  it('take all renders of one process that end together', async () => {
    const other = { ...key, size: '360p' }
    await learnFrom(...Array.from({ length: 12 }, (): Learned => [other, render]))
    expect(await samplesOf(other)).toBe(12)
  })
})

async function samplesOf(of: Learned[0]) {
  return (await records.find(paceKeyOf(of)))?.value.samples
}
