import { until } from '@avatar/service-kit/testing'
import sharp from 'sharp'
import { afterAll, expect, it } from 'vitest'
import { wav } from './media-fixtures.ts'
import { openConnection, rawUpload } from './raw-connection.ts'
import { portrait, useRestWorld } from './rest-world.ts'

const clients = Number(process.env['SLOW_CLIENTS'] || 200)
const world = useRestWorld()
// Whatever clients do, it is no fault of ours.
afterAll(() => expect(world.logged('request failed')).toEqual([]))

const image = await sharp(portrait).resize(160, 160).jpeg().toBuffer()
const audio = wav({ seconds: 0.5 })
const body = rawUpload({ image, audio })
const head = () =>
  `POST /generate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${world.mine.key}\r\n` +
  `content-type: multipart/form-data; boundary=b\r\ncontent-length: ${body.length}\r\n\r\n`

async function p95Ms(): Promise<number> {
  const times: number[] = []
  for (let asked = 0; asked < 100; asked++) {
    const sentAtMs = performance.now()
    expect((await world.call('/jobs')).status).toBe(200)
    times.push(performance.now() - sentAtMs)
  }
  return times.sort((a, b) => a - b)[Math.floor(times.length * 0.95)] ?? 0
}

it('hundreds of clients that dawdle and hang up leave nothing behind, and keep nobody waiting', async () => {
  await p95Ms()
  const before = await p95Ms()
  const all = Array.from({ length: clients })
  // Half a request line each, as slowly as they like.
  const dawdling = await Promise.all(all.map(() => openConnection(world.url)))
  for (const { socket } of dawdling) socket.write('POST /gen')
  // In the middle of their image.
  const leaving = await Promise.all(all.map(() => openConnection(world.url)))
  for (const { socket } of leaving) {
    socket.write(head())
    socket.write(body.subarray(0, Math.floor(body.length / 3)))
  }
  await until(async () => (await world.spooled()).length >= clients, {
    what: 'all of them under way',
  })
  const beside = await p95Ms()
  for (const { socket } of leaving) socket.destroy()
  await until(async () => (await world.spooled()).length === 0, {
    what: 'an empty spool',
    timeoutMs: 60_000,
  })
  console.log(
    `slow clients: ${clients} dawdling and ${clients} leaving; others' p95 ` +
      `${before.toFixed(1)} ms before, ${beside.toFixed(1)} ms beside them`,
  )
  // Their heads are not there in time, and their connections are closed.
  await until(() => dawdling.every(({ hasEnded, socket }) => hasEnded || socket.destroyed), {
    what: 'the end of the dawdling',
  })
  const form = new FormData()
  form.append('image', new Blob([new Uint8Array(image)]), 'f')
  form.append('audio', new Blob([new Uint8Array(audio)]), 'f')
  expect((await world.call('/generate', { method: 'POST', body: form })).status).toBe(201)
})
