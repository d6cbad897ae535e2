import { afterEach, describe, expect, it } from 'vitest'
import { createAdminServer } from '../src/admin-server.ts'
import { createMetrics } from '../src/telemetry.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

async function started(isHealthy = () => true, port = 0) {
  const metrics = createMetrics('test')
  const server = createAdminServer({ host: '127.0.0.1', port, metrics, isHealthy })
  stops.push(server.stop, metrics.stop)
  await server.start()
  const ask = (path: string) => fetch(`http://127.0.0.1:${server.port()}${path}`)
  return { metrics, server, ask }
}

describe('the operators’ door', () => {
  it('tells metrics in the text format of Prometheus', async () => {
    const { metrics, ask } = await started()
    metrics.meter.createCounter('infinitetalk_things_total', { description: 'Things' }).add(3)
    const answer = await ask('/metrics')
    expect(answer.headers.get('content-type')).toContain('text/plain; version=0.0.4')
    const text = await answer.text()
    expect(text).toMatch(/^# HELP infinitetalk_things_total Things$/m)
    expect(text).toMatch(/^infinitetalk_things_total(\{.*\})? 3$/m)
  })

  it('tells whether the service is well, and knows no other page', async () => {
    let isWell = true
    const { ask } = await started(() => isWell)
    expect((await ask('/healthz')).status).toBe(200)
    isWell = false
    expect((await ask('/healthz')).status).toBe(503)
    expect((await ask('/')).status).toBe(404)
  })

  it('says at the start that its port is taken, and stops twice and before a start', async () => {
    const { server } = await started()
    await expect(started(() => true, server.port())).rejects.toMatchObject({ code: 'EADDRINUSE' })
    const idle = createAdminServer({
      ...{ host: '127.0.0.1', port: 0, metrics: createMetrics('idle') },
      isHealthy: () => true,
    })
    await idle.stop()
    await server.stop()
    await server.stop()
  })
})
