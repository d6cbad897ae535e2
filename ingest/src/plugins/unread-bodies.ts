import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { limits, type Timings } from '@avatar/contracts'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/**
 * Closes a connection after an answer that came before the request's body was read whole: the rest of
 * that body is no request. It lingers: the client gets the end of our stream with the answer, and what
 * it still sends is discarded, within the bounds of an upload. A connection that is closed while bytes
 * arrive is reset, and the client loses the answer.
 */
export function createUnreadBodies(timings: Timings) {
  const lingering = new Set<Socket>()

  function linger(socket: Socket) {
    const destroy = () => socket.destroy()
    const total = setTimeout(destroy, timings.uploadMs)
    lingering.add(socket)
    socket.setTimeout(timings.uploadIdleMs, destroy)
    socket.once('close', () => {
      clearTimeout(total)
      lingering.delete(socket)
    })
    socket.end()
  }

  /** Call it when an answer is ready, before its head is sent. */
  function closeAfter({ raw }: FastifyRequest, reply: FastifyReply) {
    if (!isUnread(raw)) return
    reply.header('connection', 'close')
    const { socket } = raw
    // A body that has passed its bounds is paused, and nothing more of it is read.
    const mayLinger = !raw.isPaused()
    let bytes = 0
    raw.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > limits.drainMaxBytes) socket.destroy()
    })
    const destroySoon = socket.destroySoon.bind(socket)
    // Node calls this after the last answer of a connection.
    socket.destroySoon = () => (raw.complete || !mayLinger ? destroySoon() : linger(socket))
  }

  return {
    closeAfter,
    /** Does so on all routes. A server that closes does not wait for what lingers. */
    install(app: FastifyInstance) {
      app.addHook('onSend', async (request, reply) => {
        // A body that came in one packet with its head is parsed after this turn.
        if (isUnread(request.raw)) await setImmediate()
        closeAfter(request, reply)
      })
      app.addHook('preClose', async () => {
        for (const socket of lingering) socket.destroy()
      })
    },
  }
}

/** Whether the request announces a body of which something has not arrived yet. */
function isUnread({ complete, headers }: IncomingMessage): boolean {
  const announces = headers['transfer-encoding'] ?? Number(headers['content-length'] ?? 0) > 0
  return !complete && Boolean(announces)
}
