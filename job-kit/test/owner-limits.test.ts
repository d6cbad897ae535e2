import { provisionBroker } from '@avatar/backing-services'
import { createTestNats } from '@avatar/backing-services/testing'
import { scaledTimings } from '@avatar/contracts'
import { type Bus, createLog, systemClock } from '@avatar/service-kit'
import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type LimitRecords, openOwnerLimits, ownerLimits } from '../src/index.ts'

let nats: Awaited<ReturnType<typeof createTestNats>>
let bus: Bus
let watchers: Bus
let records: LimitRecords
/** As a service sees them. */
let watched: LimitRecords

beforeAll(async () => {
  nats = await createTestNats()
  await nats.start()
  await provisionBroker(nats.operator, scaledTimings(1))
  bus = await nats.connectAs('operator')
  records = await openOwnerLimits(bus)
  watchers = await nats.connectAs('orchestrator')
  watched = await openOwnerLimits(watchers)
})

afterAll(async () => {
  await Promise.all([bus.stop(), watchers.stop()])
  await nats.stop()
})

const watch = () =>
  ownerLimits({ records: watched, clock: systemClock, log: createLog('test', 'silent') })

describe("a watch of owners' limits", () => {
  itKeepsTheRunnableContract(() => {
    const limits = watch()
    return { runnable: limits, atWork: () => (limits.isReady?.() ? 1 : 0) }
  })

  it('knows those that were there, and every change within five seconds', async () => {
    const revision = await records.create('acme', { renders: 2 })
    const limits = watch()
    await limits.start()
    await until(() => limits.isReady?.())
    expect(limits.limitsOf('acme')).toEqual({ renders: 2 })
    expect(limits.limitsOf('o_abcDEF123456')).toEqual({})
    await records.update('acme', { renders: 3, share: 5 }, Number(revision))
    await until(() => limits.limitsOf('acme').share === 5, { timeoutMs: 5_000 })
    await limits.stop()
    expect(limits.limitsOf('acme')).toEqual({ renders: 3, share: 5 })
  })

  it('goes by the last ones known while the broker is away', async () => {
    await records.create('absent', { unfinishedJobs: 1 })
    const limits = watch()
    await limits.start()
    await until(() => limits.isReady?.())
    await nats.kill()
    expect(limits.limitsOf('absent')).toEqual({ unfinishedJobs: 1 })
    await nats.start()
    expect(limits.limitsOf('absent')).toEqual({ unfinishedJobs: 1 })
    await limits.stop()
  })
})
