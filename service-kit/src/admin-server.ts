import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Runnable } from './lifecycle.ts'
import type { Metrics } from './telemetry.ts'

/** The operators' door of a service: `/metrics` for Prometheus, `/healthz` for the supervisor. */
export type AdminServer = Runnable & { port(): number }

/** Not meant for the public; it listens on loopback unless it is told otherwise. */
export function createAdminServer(options: {
  host: string
  port: number
  metrics: Metrics
  isHealthy: () => boolean
}): AdminServer {
  const server: Server = createServer((request, response) => {
    if (request.url === '/metrics') {
      void options.metrics.scrape().then((text) => {
        response.setHeader('content-type', 'text/plain; version=0.0.4')
        response.end(text)
      })
    } else if (request.url === '/healthz') {
      const healthy = options.isHealthy()
      response.statusCode = healthy ? 200 : 503
      response.end(healthy ? 'ok\n' : 'unavailable\n')
    } else {
      response.statusCode = 404
      response.end('not found\n')
    }
  })
  return {
    port: () => (server.address() as AddressInfo).port, // Never a pipe: it listens on a port.
    start: () =>
      new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen(options.port, options.host, () => resolve())
      }),
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
