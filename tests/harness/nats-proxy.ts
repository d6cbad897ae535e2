import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { createFrameReader, type Published } from './nats-frames.ts'

/** The message at which a connection freezes. */
export type Cut = {
  /** `before`: the broker never receives it. `after`: it does, but its answer never comes back. */
  when: 'before' | 'after'
  subject: RegExp
  payload?: RegExp
}

/** Waits for a message; `done` is called once its connection is frozen. */
type Trap = Cut & { done: () => void }

/**
 * A proxy between one service and the broker. It can freeze the connection at a chosen message: the
 * service stays connected, but nothing passes in either direction. For everybody else, a process that is
 * killed then died exactly between two lines of its code.
 */
export type NatsProxy = Awaited<ReturnType<typeof startNatsProxy>>

/** @param brokerPort called at each connection: the broker may not run yet when the proxy starts */
export async function startNatsProxy(brokerPort: () => Promise<number>) {
  const traps = new Set<Trap>()
  const sockets = new Set<Socket>()

  const server = createServer((client) => {
    sockets.add(client)
    client.on('error', () => client.destroy())
    client.on('close', () => sockets.delete(client))
    brokerPort().then(
      (port) => join(client, connect(port, '127.0.0.1')),
      () => client.destroy(),
    )
  })

  function join(client: Socket, upstream: Socket) {
    const link = linkOf(client, upstream)
    upstream.on('error', () => client.destroy())
    upstream.on('close', () => client.destroy())
    client.on('close', () => upstream.destroy())
    if (client.destroyed) upstream.destroy()
    upstream.on('data', link.fromBroker)
    client.on('data', link.fromClient)
  }

  function linkOf(client: Socket, upstream: Socket) {
    const readFrames = createFrameReader()
    let isFrozen = false
    let onAnswer: (() => void) | undefined

    function freeze(trap: Trap) {
      traps.delete(trap)
      isFrozen = true
      if (trap.when === 'before') return trap.done()
      // The broker works in order: it answers a ping only after it has read the message.
      onAnswer = trap.done
      upstream.write('PING\r\n')
    }

    return {
      fromBroker(chunk: Buffer) {
        if (!isFrozen) client.write(chunk)
        else if (onAnswer && chunk.includes('PONG\r\n')) onAnswer()
      },
      fromClient(chunk: Buffer) {
        for (const { bytes, published } of readFrames(chunk)) {
          if (isFrozen) return
          const trap = published && [...traps].find((each) => isMeant(each, published))
          if (trap?.when !== 'before') upstream.write(bytes)
          if (trap) freeze(trap)
        }
      },
    }
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  return {
    url: `nats://127.0.0.1:${port}`,
    /** Resolves when the next such message has arrived and its connection is frozen. */
    cut: (cut: Cut) => new Promise<void>((done) => traps.add({ ...cut, done })),
    /** Breaks every connection; the service reconnects. */
    sever() {
      for (const socket of sockets) socket.destroy()
    },
    async stop() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
}

function isMeant(trap: Trap, message: Published): boolean {
  return trap.subject.test(message.subject) && (trap.payload?.test(message.payload) ?? true)
}
