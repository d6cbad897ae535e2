import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterEach, expect, it } from 'vitest'
import { createCollectorClient } from '../src/index.ts'
import { until } from '../testing/index.ts'

const stops: (() => void)[] = []
afterEach(() => {
  for (const stop of stops.splice(0)) stop()
})

type Seen = { path: string | undefined; headers: IncomingMessage['headers']; body: string }

/** A collector that answers as it is told, and a client of it. */
async function collector(
  answer: (response: ServerResponse, seen: readonly Seen[]) => void,
  { userInfo = '', headers = {} } = {},
) {
  const seen: Seen[] = []
  let connections = 0
  const server = createServer(async (request, response) => {
    const { url: path, headers } = request
    seen.push({ path, headers, body: await text(request) })
    answer(response, seen)
  })
  server.on('connection', () => {
    connections++
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // It listens on a port.
  const url = `http://${userInfo}127.0.0.1:${port}/v1/traces?tenant=a`
  const client = createCollectorClient({ url, headers })
  stops.push(client.stop, () => {
    server.closeAllConnections()
    server.close()
  })
  return { client, seen, connections: () => connections }
}

it('posts on a connection that stays open, with the headers that it was given', async () => {
  const { client, seen, connections } = await collector((response) => response.end('{}'), {
    ...{ userInfo: 'me:p%40ss@', headers: { 'x-token': 'sesame' } },
  })
  expect(await client.post('{"a":"ö"}')).toBe(200)
  expect(await client.post(Buffer.from('{}'))).toBe(200)
  expect(seen.map(({ body }) => body)).toEqual(['{"a":"ö"}', '{}'])
  expect(seen[0]).toMatchObject({
    path: '/v1/traces?tenant=a',
    headers: {
      ...{ 'content-type': 'application/json', 'content-length': '10', 'x-token': 'sesame' },
      authorization: `Basic ${Buffer.from('me:p@ss').toString('base64')}`,
    },
  })
  expect(connections()).toBe(1)
})

it('tells what the collector answers, and follows no redirect', async () => {
  const { client, seen } = await collector((response) =>
    response.writeHead(307, { location: '/elsewhere' }).end(),
  )
  expect(await client.post('{}')).toBe(307)
  expect(seen).toHaveLength(1)
})

it('posts again where a connection was closed in the moment in which it was used again', async () => {
  const { client, seen } = await collector((response, { length }) => {
    if (length === 2) response.socket?.resetAndDestroy()
    else response.end('{}')
  })
  await client.post('first')
  expect(await client.post('second')).toBe(200)
  expect(seen.map(({ body }) => body)).toEqual(['first', 'second', 'second'])
})

it('fails where nobody listens, and where the answer breaks off', async () => {
  const { client } = await collector((response) => {
    response.writeHead(200, { 'content-length': '10' }).write('{')
    response.socket?.destroySoon()
  })
  await expect(client.post('{}')).rejects.toThrow()
  const nobody = createCollectorClient({ url: 'http://127.0.0.1:9/v1/traces', headers: {} })
  await expect(nobody.post('{}')).rejects.toThrow()
})

it.each([
  ['says nothing', () => undefined],
  ['begins to answer', (response: ServerResponse) => response.writeHead(200).write('{')],
])('gives up a collector that %s and no more', async (_, answer) => {
  const { client } = await collector(answer)
  await expect(client.post('{}')).rejects.toThrow()
})

it('ends what is under way when it is stopped', async () => {
  const { client, seen } = await collector(() => undefined)
  const posting = client.post('{}')
  await until(() => seen.length === 1)
  client.stop()
  await expect(posting).rejects.toThrow()
  expect(seen).toHaveLength(1)
})
