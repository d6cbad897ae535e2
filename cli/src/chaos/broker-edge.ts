import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { BrokerFault } from './plan.ts'

/** How late each byte comes while an edge is slow. */
const delayMs = 400

/** The connection between one service and the broker, which can be disturbed. */
export type BrokerEdge = Awaited<ReturnType<typeof startBrokerEdge>>

/** @param brokerPort asked at each connection: the broker may not run yet */
export async function startBrokerEdge(brokerPort: () => Promise<number | undefined>) {
  let fault: BrokerFault | undefined
  const links = new Set<{ end(): void }>()

  const server = createServer((client) => {
    client.on('error', () => client.destroy())
    if (fault === 'broker-cut') {
      client.destroy()
      return
    }
    void brokerPort().then((port) => {
      if (port === undefined) {
        client.destroy()
        return
      }
      const broker = connect(port, '127.0.0.1')
      broker.on('error', () => broker.destroy())
      const link = { end: () => [client, broker].map((socket) => socket.destroy()) }
      links.add(link)
      for (const socket of [client, broker])
        socket.on('close', () => {
          links.delete(link)
          link.end()
        })
      pass(client, broker)
      pass(broker, client)
    })
  })

  /** A half-open connection swallows what it is given: both sides believe that it lives. */
  function pass(from: Socket, to: Socket) {
    const write = (chunk: Buffer) => {
      if (!to.destroyed) to.write(chunk)
    }
    let late = Promise.resolve()
    let hasDelayed = false
    from.on('data', (chunk: Buffer) => {
      if (fault === 'broker-half-open') return
      if (fault !== 'broker-delay' && !hasDelayed) return write(chunk)
      hasDelayed = true
      // What comes after a late chunk may not overtake it.
      const waited = fault === 'broker-delay' ? delayMs : 0
      late = late
        .then(() => new Promise((done) => setTimeout(done, waited)))
        .then(() => write(chunk))
    })
  }

  function endAll() {
    for (const link of [...links]) link.end()
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  return {
    url: `nats://127.0.0.1:${port}`,
    misbehave(how: BrokerFault) {
      fault = how
      if (how === 'broker-cut') endAll()
    },
    /** Bytes of a half-open connection are lost, so its streams make no sense any more: it ends. */
    heal() {
      const was = fault
      fault = undefined
      if (was === 'broker-half-open') endAll()
    },
    async stop() {
      server.close()
      endAll()
      await once(server, 'close')
    },
  }
}
