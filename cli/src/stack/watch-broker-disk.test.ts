import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { systemClock } from '@avatar/service-kit'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { watchBrokerDisk } from './watch-broker-disk.ts'

const full = "JetStream stream 'AVATAR > EVENTS' write error: write 1.blk: no space left on device"
let error: string | undefined
const server = createServer((_request, response) => response.end(JSON.stringify({ error })))

beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterAll(() => void server.close())

it('restarts a broker that cannot write although there is room, ever more rarely while that does not help', async () => {
  const { port } = server.address() as AddressInfo
  const restartsAtMs: number[] = []
  let nowMs = 0
  const watch = watchBrokerDisk({
    monitor: `http://127.0.0.1:${port}`,
    storeDir: tmpdir(),
    restart: () => void restartsAtMs.push(nowMs),
    write: () => undefined,
    clock: { ...systemClock, monotonicMs: () => nowMs },
  })
  const look = async (atMs: number) => {
    nowMs = atMs
    await watch.runOnce()
  }
  error = undefined
  await look(0)
  error = "JetStream consumer 'AVATAR > EVENTS > storage' could not be found"
  await look(1_000)
  expect(restartsAtMs).toEqual([])
  error = full
  for (let atMs = 2_000; atMs < 80_000; atMs += 1_000) await look(atMs)
  expect(restartsAtMs).toEqual([2_000, 7_000, 17_000, 37_000, 77_000])
  await look(1_000_000)
  await look(1_005_000)
  expect(restartsAtMs.slice(5)).toEqual([1_000_000, 1_005_000])
})
