import { once } from 'node:events'
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'

/** How the store misbehaves: it answers an error, does not answer, or breaks the connection. */
type StoreFault = {
  kind: 'error' | 'stall' | 'reset'
  /** Which requests are affected; by default all. */
  method?: string
  path?: RegExp
  /** How many requests; by default all. */
  times?: number
}

/**
 * A proxy between the store and the services and their presigned URLs. It passes requests on unchanged,
 * including the signed Host header.
 */
export type S3Proxy = Awaited<ReturnType<typeof startS3Proxy>>

/** @param storePort called at each request: the store may not run yet when the proxy starts */
export async function startS3Proxy(storePort: () => Promise<number>) {
  let fault: StoreFault | undefined
  let left = 0
  const stalled = new Set<IncomingMessage>()
  const seen: { method: string; path: string; status: number }[] = []

  const handle: RequestListener = (request, response) => {
    const { method = '', url: path = '' } = request
    const isMeant =
      fault !== undefined &&
      left > 0 &&
      (fault.method ?? method) === method &&
      (fault.path?.test(path) ?? true)
    if (isMeant) left--
    if (!isMeant || !fault) void pass(request, response)
    else if (fault.kind === 'stall') stalled.add(request)
    else if (fault.kind === 'reset') request.socket.destroy()
    else {
      seen.push({ method, path, status: 503 })
      request.resume()
      response.writeHead(503, { 'content-type': 'application/xml', connection: 'close' })
      response.end(
        '<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>',
      )
    }
  }

  async function pass(request: IncomingMessage, response: ServerResponse) {
    const { method = '', url: path = '' } = request
    const upstream = httpRequest(
      { host: '127.0.0.1', port: await storePort(), method, path, headers: request.rawHeaders },
      (answer) => {
        seen.push({ method, path, status: answer.statusCode ?? 0 })
        response.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
        answer.pipe(response)
        answer.on('error', () => response.destroy())
      },
    )
    upstream.on('error', () => response.destroy())
    response.on('close', () => upstream.destroy())
    request.pipe(upstream)
  }

  const server: Server = createServer(handle)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  return {
    url: `http://127.0.0.1:${port}`,
    /** Every answered request, in order. */
    seen: seen as readonly (typeof seen)[number][],
    misbehave(how: StoreFault) {
      fault = how
      left = how.times ?? Infinity
    },
    /** Ends the fault; requests that still wait for an answer get a broken connection. */
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
