import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** RunPod's API of one endpoint, as far as a release uses it. `log` is what it was asked to change. */
export async function startFakeRunpod(endpointId: string, image: string, apiKey: string) {
  const endpoint = { id: endpointId, image, env: { NATS_PASSWORD: 'kept' }, workers: { max: 5 } }
  const log: unknown[] = []
  /** Answers that come before the real ones. */
  const refusals: { status: number; retryAfter?: string }[] = []
  const server = createServer(async (request, response) => {
    const answer = (status: number, body: unknown, headers = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers })
      response.end(JSON.stringify(body))
    }
    let text = ''
    for await (const chunk of request) text += chunk
    const refusal = refusals.shift()
    if (refusal) {
      const headers = refusal.retryAfter ? { 'retry-after': refusal.retryAfter } : {}
      return answer(refusal.status, { title: 'refused' }, headers)
    }
    if (request.headers.authorization !== `Bearer ${apiKey}`)
      return answer(401, { title: 'Unauthorized' })
    if (request.url !== `/v2/serverless/${endpointId}`) return answer(404, { title: 'Not Found' })
    if (request.method === 'PATCH') {
      const change = JSON.parse(text)
      log.push(change)
      Object.assign(endpoint, change)
    }
    answer(200, endpoint)
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo // It listens on TCP.
  return {
    ...{ endpoint, log, refusals, api: `http://127.0.0.1:${port}/v2` },
    stop: () => new Promise((stopped) => server.close(stopped)),
  }
}
