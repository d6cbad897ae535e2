import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Runnable } from './background.ts'
import type { Health } from './health.ts'
import type { Metrics } from './metrics.ts'

/**
 * The operators' door of a service: `/metrics` for Prometheus; `/livez`, which says whether to restart
 * the process; `/readyz`, also under its old name `/healthz`, which says whether to send it work.
 * Not meant for the public: it listens on loopback unless it is configured otherwise.
 */
export function createAdminServer(options: {
  host: string
  port: number
  metrics: Metrics
  health: Health
}): Runnable & { port(): number } {
  const { metrics, health } = options
  const server = createServer(async (request, response) => {
    try {
      switch (request.url) {
        case '/metrics':
          response.setHeader('content-type', 'text/plain; version=0.0.4')
          response.end(await metrics.scrape())
          return
        case '/livez': {
          const liveness = health.live()
          return answer(response, liveness.status === 'alive', liveness)
        }
        case '/readyz':
        case '/healthz': {
          const readiness = await health.ready()
          return answer(response, readiness.status === 'ready', readiness)
        }
        default:
          response.statusCode = 404
          response.end('not found\n')
      }
    } catch {
      response.statusCode = 500
      response.end('failed\n')
    }
  })
  return {
    port: () => (server.address() as AddressInfo).port, // Never a pipe: it listens on a port.
    async start() {
      server.listen(options.port, options.host)
      await once(server, 'listening')
    },
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}

function answer(response: ServerResponse, isWell: boolean, body: unknown) {
  response.statusCode = isWell ? 200 : 503
  response.setHeader('content-type', 'application/json; charset=utf-8')
  response.end(`${JSON.stringify(body)}\n`)
}
