import { provisionBroker } from '@avatar/backing-services'
import { createTestNats } from '@avatar/backing-services/testing'
import { scaledTimings } from '@avatar/contracts'
import { type Bus, type BusOptions, createLog } from '../src/index.ts'

export const log = createLog('test', 'silent')

/** A provisioned broker and its operator; waits are `divisor` times shorter. */
export async function createBrokerWorld({
  divisor = 1,
  storeDir,
}: {
  divisor?: number
  storeDir?: string
} = {}) {
  const nats = await createTestNats({ storeDir })
  await nats.start()
  const timings = scaledTimings(divisor)
  const connections: Bus[] = []
  const connect = async (options: Partial<BusOptions> = {}) => {
    const bus = await nats.connectAs('operator', options)
    connections.push(bus)
    return bus
  }
  const bus = await connect()
  await provisionBroker(nats.operator, timings)
  const raw = await nats.connectRawAs('operator')
  return {
    nats,
    bus,
    /** The client library's own connection, for what the bus does not offer. */
    raw,
    timings,
    connect,
    async stop() {
      await Promise.all([raw.connection.close(), ...connections.map((each) => each.stop())])
      await nats.stop()
    },
  }
}

export type BrokerWorld = Awaited<ReturnType<typeof createBrokerWorld>>
