import { once } from 'node:events'
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http'
import type { Random } from '@avatar/service-kit'
import type { StoreFault } from './plan.ts'

/** A truncated answer ends after this part of what it announced. */
const truncatedPart = 0.5

/** The connections between all services and the store, also those of presigned URLs. */
export type StoreEdge = Awaited<ReturnType<typeof startStoreEdge>>

/**
 * Passes requests on unchanged, including the signed Host header.
 *
 * @param storePort asked at each request: the store may not run yet
 */
export async function startStoreEdge(storePort: () => Promise<number | undefined>, random: Random) {
  let fault: { kind: StoreFault; percent: number } | undefined
  const stalled = new Set<IncomingMessage>()

  const server = createServer((request, response) => {
    const kind = fault && random(100) < fault.percent ? fault.kind : undefined
    switch (kind) {
      case 'store-errors':
        return refuse(request, response, 500, 'InternalError')
      case 'store-busy':
        return refuse(request, response, 429, 'SlowDown')
      case 'store-resets':
        return request.socket.destroy()
      case 'store-stalls':
        return void stalled.add(request)
      case 'store-truncates':
      case undefined:
        return void pass(request, response, kind !== undefined)
    }
  })

  function refuse(
    request: IncomingMessage,
    response: ServerResponse,
    status: number,
    code: string,
  ) {
    request.resume()
    response.writeHead(status, { 'content-type': 'application/xml', connection: 'close' })
    response.end(`<Error><Code>${code}</Code><Message>A planned fault.</Message></Error>`)
  }

  async function pass(request: IncomingMessage, response: ServerResponse, isTruncated: boolean) {
    const port = await storePort()
    if (port === undefined) {
      request.socket.destroy()
      return
    }
    const { method = '', url: path = '', rawHeaders: headers } = request
    const store = httpRequest({ host: '127.0.0.1', port, method, path, headers }, (answer) => {
      answer.on('error', () => response.destroy())
      response.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
      const announced = Number(answer.headers['content-length'] ?? 0)
      if (!isTruncated || announced === 0) {
        answer.pipe(response)
        return
      }
      let left = Math.floor(announced * truncatedPart)
      answer.on('data', (chunk: Buffer) => {
        if (left <= 0) return
        response.write(chunk.subarray(0, left))
        left -= chunk.length
        if (left <= 0) response.socket?.end(() => response.destroy())
      })
    })
    store.on('error', () => response.destroy())
    response.on('error', () => store.destroy())
    response.on('close', () => store.destroy())
    request.pipe(store)
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  return {
    url: `http://127.0.0.1:${port}`,
    misbehave(kind: StoreFault, percent: number) {
      fault = { kind, percent }
    },
    /** Requests that still wait for an answer get a broken connection. */
    heal() {
      fault = undefined
      for (const { socket } of stalled) socket.destroy()
      stalled.clear()
    },
    async stop() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}
