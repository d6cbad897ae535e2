import { afterEach, describe, expect, it } from 'vitest'
import { createAdminServer } from '../src/admin-server.ts'
import type { Health } from '../src/health.ts'
import { createMetrics } from '../src/metrics.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

const state = { isReady: true, stuck: [] as string[] }
const clock = { ok: true, ahead_seconds: 0 }
const health: Health = {
  live: () => ({ status: state.stuck.length === 0 ? 'alive' : 'stuck', stuck: state.stuck }),
  ready: async () => ({ status: state.isReady ? 'ready' : 'unready', checks: {}, clock }),
}

async function started(port = 0) {
  const metrics = createMetrics('janitor')
  const server = createAdminServer({ host: '127.0.0.1', port, metrics, health })
  stops.push(server.stop, metrics.stop)
  await server.start()
  const ask = (path: string) => fetch(`http://127.0.0.1:${server.port()}${path}`)
  return { metrics, server, ask }
}

describe('the admin server', () => {
  it('serves metrics in the text format of Prometheus', async () => {
    const { metrics, ask } = await started()
    metrics.countDroppedSpans(3)
    const answer = await ask('/metrics')
    expect(answer.headers.get('content-type')).toContain('text/plain; version=0.0.4')
    const text = await answer.text()
    expect(text).toMatch(/^# HELP infinitetalk_spans_dropped_total Spans .*$/m)
    expect(text).toMatch(/^infinitetalk_spans_dropped_total 3$/m)
  })

  it('answers readiness under two names, and liveness apart from it', async () => {
    const { ask } = await started()
    const statuses = () =>
      Promise.all(
        ['/readyz', '/healthz', '/livez', '/'].map(async (path) => (await ask(path)).status),
      )
    expect(await statuses()).toEqual([200, 200, 200, 404])
    state.isReady = false
    expect(await statuses()).toEqual([503, 503, 200, 404])
    expect(await (await ask('/readyz')).json()).toEqual({ status: 'unready', checks: {}, clock })
    state.stuck = ['reconciler']
    expect(await statuses()).toEqual([503, 503, 503, 404])
    expect(await (await ask('/livez')).json()).toEqual({ status: 'stuck', stuck: ['reconciler'] })
  })

  it('refuses to start on a taken port, and may be stopped twice or before it started', async () => {
    const { server } = await started()
    await expect(started(server.port())).rejects.toMatchObject({ code: 'EADDRINUSE' })
    const idle = createAdminServer({
      ...{ host: '127.0.0.1', port: 0, metrics: createMetrics('janitor'), health },
    })
    await idle.stop()
    await server.stop()
    await server.stop()
  })
})
