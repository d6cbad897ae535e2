import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { seededRandom } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { startBrokerEdge } from '../src/chaos/broker-edge.ts'
import { openClockSteps } from '../src/chaos/clock-steps.ts'
import { startStoreEdge } from '../src/chaos/store-edge.ts'

const stops: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop()
})

function portOf(address: string | object | null): number {
  return typeof address === 'object' && address && 'port' in address ? Number(address.port) : 0
}

describe('the edge to the broker', () => {
  /** A server that answers with what it is sent, behind an edge. */
  async function echo() {
    const server = createServer((socket) => socket.pipe(socket).on('error', () => undefined))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const edge = await startBrokerEdge(async () => portOf(server.address()))
    stops.push(async () => server.close(), edge.stop)
    return edge
  }

  async function dial(url: string) {
    const socket: Socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.on('error', () => undefined)
    const heard = { text: '', isClosed: false }
    socket.on('data', (chunk) => {
      heard.text += String(chunk)
    })
    socket.on('close', () => {
      heard.isClosed = true
    })
    await once(socket, 'connect')
    stops.push(async () => socket.destroy())
    return { socket, heard }
  }

  it('passes everything on; a cut ends its connections, and refuses new ones until it is healed', async () => {
    const edge = await echo()
    const first = await dial(edge.url)
    first.socket.write('hello')
    await until(() => first.heard.text === 'hello')
    edge.misbehave('broker-cut')
    await until(() => first.heard.isClosed)
    const second = await dial(edge.url)
    await until(() => second.heard.isClosed)
    edge.heal()
    const third = await dial(edge.url)
    third.socket.write('again')
    await until(() => third.heard.text === 'again')
  })

  it('half-open, a connection swallows what it gets, and ends when it is healed', async () => {
    const edge = await echo()
    const { socket, heard } = await dial(edge.url)
    socket.write('a')
    await until(() => heard.text === 'a')
    edge.misbehave('broker-half-open')
    const written = new Promise((done) => socket.write('lost', done))
    await written
    edge.heal()
    await until(() => heard.isClosed)
    expect(heard.text).toBe('a')
  })

  it('delayed, everything comes late and in its order, also what is sent after the delay', async () => {
    const edge = await echo()
    const { socket, heard } = await dial(edge.url)
    edge.misbehave('broker-delay')
    const sentAtMs = performance.now()
    socket.write('1')
    await until(() => heard.text === '1')
    expect(performance.now() - sentAtMs).toBeGreaterThanOrEqual(400)
    for (const each of ['2', '3']) socket.write(each)
    edge.heal()
    socket.write('4')
    await until(() => heard.text.length === 4)
    expect(heard.text).toBe('1234')
  })
})

describe('the edge to the store', () => {
  const body = 'x'.repeat(10_000)

  async function store() {
    const server = createHttpServer((request, response) => {
      request.resume().on('end', () => response.setHeader('content-length', body.length).end(body))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const edge = await startStoreEdge(async () => portOf(server.address()), seededRandom(1))
    stops.push(async () => server.close(), edge.stop)
    const ask = async () => (await fetch(edge.url, { method: 'POST', body: 'ask' })).text()
    return { edge, ask }
  }

  it('passes everything on until it misbehaves, and again once it is healed', async () => {
    const { edge, ask } = await store()
    expect(await ask()).toBe(body)
    edge.misbehave('store-resets', 100)
    await expect(ask()).rejects.toThrow()
    edge.misbehave('store-truncates', 100)
    await expect(ask()).rejects.toThrow()
    edge.heal()
    expect(await ask()).toBe(body)
  })

  it('answers errors and refusals as a store does', async () => {
    const { edge } = await store()
    const statusOf = async () => (await fetch(edge.url)).status
    edge.misbehave('store-errors', 100)
    expect(await statusOf()).toBe(500)
    edge.misbehave('store-busy', 100)
    expect(await statusOf()).toBe(429)
    edge.misbehave('store-busy', 0)
    expect(await statusOf()).toBe(200)
  })

  it('stalled, a request has no answer until the stall ends, which breaks it off', async () => {
    const { edge, ask } = await store()
    edge.misbehave('store-stalls', 100)
    let isOver = false
    const asking = ask().catch(() => {
      isOver = true
    })
    const other = await startStoreEdge(async () => undefined, seededRandom(1))
    stops.push(other.stop)
    await expect(fetch(other.url)).rejects.toThrow()
    expect(isOver).toBe(false)
    await until(() => {
      edge.heal() // The request may still be on its way.
      return isOver
    })
    await asking
  })
})

describe('clock steps', () => {
  it('move the wall clock of one service while it runs, and leave its timers alone', async ({
    skip,
  }) => {
    const folder = await mkdtemp(join(tmpdir(), 'avatar-clock-'))
    stops.push(() => rm(folder, { recursive: true, force: true }))
    const steps = await openClockSteps('janitor', folder)
    if (!steps) return skip('libfaketime is not installed')
    const own = Object.entries(steps.env).map(([name, value]) => [
      name.replace(/^JANITOR_/, ''),
      value,
    ])
    const tell = 'setInterval(() => console.log(Date.now(), Math.round(performance.now())), 20)'
    const child = spawn(process.execPath, ['-e', tell], { env: Object.fromEntries(own) })
    stops.push(async () => child.kill('SIGKILL'))
    let last = [0, 0]
    child.stdout.on('data', (chunk) => {
      last = String(chunk).trim().split('\n').at(-1)?.split(' ').map(Number) ?? last
    })
    const aheadMs = () => (last[0] ?? 0) - Date.now()
    const hourMs = 3_600_000
    await until(() => Math.abs(aheadMs()) < hourMs, { what: 'the true time' })
    await steps.setAhead(86_400)
    await until(() => aheadMs() > 23 * hourMs, { what: 'a day ahead' })
    await steps.setAhead(-86_400)
    await until(() => aheadMs() < -23 * hourMs, { what: 'a day behind' })
    expect(last[1]).toBeLessThan(hourMs)
    expect(last[1]).toBeGreaterThan(0)
  })
})
