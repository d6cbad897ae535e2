import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

/** How one ring ends. `broken`: it is taken, and the connection breaks before the answer. */
export type RingEnd = 'taken' | 'broken' | 402 | 429 | 500

/**
 * As much of RunPod as the orchestrator asks: it notes rings and starts nobody. A test plays the workers, so
 * that it decides when they come.
 */
export async function startDoorbells() {
  const rings: { wakeId: string; ref: string }[] = []
  const cancelled: string[] = []
  const patches: unknown[] = []
  const bills: string[] = []
  const told = { max: 5, throttled: 0, total: 0, dollars: [] as number[] }
  let next: RingEnd[] = []
  let always: RingEnd = 'taken'

  const server = createServer(async (request, response) => {
    const { pathname, search } = new URL(request.url ?? '/', 'http://doorbells')
    const body = await text(request)
    const json = (status: number, answer: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
    if (request.headers.authorization !== 'Bearer test-key') return json(401, {})
    if (pathname === '/v2/e1/run') {
      const { input } = JSON.parse(body) as { input: { kind: string; wakeId: string } }
      const end = next.shift() ?? always
      if (typeof end === 'number') return json(end, {})
      const ref = `job-${rings.length + 1}`
      if (input.kind === 'drain') rings.push({ wakeId: input.wakeId, ref })
      return end === 'broken' ? response.destroy() : json(200, { id: ref, status: 'IN_QUEUE' })
    }
    if (pathname.startsWith('/v2/e1/cancel/')) {
      cancelled.push(pathname.split('/').at(-1) ?? '')
      return json(200, {})
    }
    if (pathname === '/v2/serverless/e1/workers')
      return json(200, { summary: { throttled: told.throttled, total: told.total } })
    if (pathname === '/v2/billing/serverless') {
      bills.push(search)
      return json(200, { records: told.dollars.map((totalAmount) => ({ totalAmount })) })
    }
    if (request.method === 'PATCH') {
      const patch = JSON.parse(body) as { workers?: { max?: number } }
      patches.push(patch)
      told.max = patch.workers?.max ?? told.max
    }
    return json(200, { image: 'sidecar@sha256:1', workers: { max: told.max } })
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo // It listens on a port.
  const url = `http://127.0.0.1:${port}/v2`

  return {
    rings,
    cancelled,
    patches,
    /** What was asked about bills. */
    bills,
    told,
    /** How the next rings end, and then all others. */
    plan(ends: readonly RingEnd[], then: RingEnd = 'taken') {
      next = [...ends]
      always = then
    },
    /** The settings of an orchestrator that rings here. */
    settings: {
      SCALE_PROVIDER: 'runpod',
      SCALE_POOL: 'runpod',
      RUNPOD_ENDPOINT_ID: 'e1',
      RUNPOD_API_KEY: 'test-key',
      RUNPOD_API_URL: url,
      RUNPOD_JOB_API_URL: url,
    },
    async stop() {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
}

export type Doorbells = Awaited<ReturnType<typeof startDoorbells>>
