import { inboxPrefix, scaledTimings } from '@avatar/contracts'
import { type Bus, connectBus, createLog, provision } from '../src/index.ts'
import { createTestNats } from '../testing/index.ts'

export const log = createLog('test', 'silent')

/** A provisioned broker and its operator; waits are `divisor` times shorter. */
export async function createBrokerWorld({ divisor = 1 } = {}) {
  const nats = await createTestNats()
  await nats.start()
  const timings = scaledTimings(divisor)
  const connections: Bus[] = []
  const connect = async () => {
    const bus = await connectBus({
      url: nats.url,
      user: 'operator',
      password: nats.passwords.operator,
      inboxPrefix: inboxPrefix('operator'),
      log,
    })
    connections.push(bus)
    return bus
  }
  const bus = await connect()
  await provision(bus, timings)
  return {
    nats,
    bus,
    timings,
    connect,
    async stop() {
      await Promise.all(connections.map((each) => each.stop()))
      await nats.stop()
    },
  }
}

export type BrokerWorld = Awaited<ReturnType<typeof createBrokerWorld>>
