import { randomUUID } from 'node:crypto'
import { type Beat, jobKey, learnPace, paceKeyOf, subjects } from '@avatar/contracts'
import { openPaces } from '@avatar/job-kit'
import { until } from '@avatar/service-kit/testing'
import { expect, it } from 'vitest'
import { useRestWorld } from './rest-world.ts'

const world = useRestWorld()

const dataOf = (answer: { body: Record<string, never> }) =>
  answer.body['data'] as unknown as Record<string, unknown>
const toldOf = async (jobId: unknown) =>
  (await world.jobs.find(jobKey(world.mine.owner, String(jobId))))?.value.told

it('tells no end while no worker is there, and the seconds of the render all the same', async () => {
  const data = dataOf(await world.generate())
  expect(data).toMatchObject({ estimated_seconds: 14.2, estimated_completion_at: null })
  expect(await toldOf(data.job_id)).toEqual({ renderSeconds: expect.closeTo(14.2, 1) })
  const status = dataOf(await world.call(`/status/${data.job_id}`))
  expect(status.estimated_completion_at).toBeNull()
})

it('tells the end by the pace that was learned and the jobs ahead, and keeps what it told', async () => {
  const key = { engine: 'preview', size: '720p', device: 'cpu' }
  const learned = { framesPerChunk: 25, storingSeconds: 3, atMs: Date.now() }
  const render = { ...learned, frames: 100, seconds: 40 }
  const paces = await openPaces(world.operator)
  await paces.create(paceKeyOf(key), learnPace(undefined, render))
  const beat: Beat = {
    ...{ workerId: 'w1', incarnation: 'i1', engine: 'preview', state: 'ready', jobs: [] },
    ...{ secondsPerVideoSecond: 1, paceKey: { ...key, framesPerChunk: 25 }, atMs: Date.now() },
  }
  world.operator.publishCore(subjects.beat('w1'), beat)
  // Eight chunks of ten seconds. Heartbeat and pace reach the service a moment later.
  const headers = { 'idempotency-key': randomUUID() }
  const first = await until(
    async () => {
      const data = dataOf(await world.generate({}, { 'idempotency-key': randomUUID() }))
      return data.estimated_seconds === 80 && data
    },
    { what: 'an estimate by the learned pace' },
  )
  const data = dataOf(await world.generate({}, headers))
  const inSeconds = (answer: Record<string, unknown>) =>
    Date.parse(String(answer.estimated_completion_at)) / 1000
  expect(inSeconds(data) - inSeconds(first)).toBeGreaterThan(79.9)
  expect(inSeconds(data) - inSeconds(first)).toBeLessThan(90)
  expect(await toldOf(data.job_id)).toEqual({
    renderSeconds: 80,
    completesAtMs: Date.parse(String(data.estimated_completion_at)),
  })
  const again = dataOf(await world.generate({}, headers))
  expect(again.job_id).toBe(data.job_id)
  const status = dataOf(await world.call(`/status/${data.job_id}`))
  for (const later of [again, status])
    expect(Math.abs(inSeconds(later) - inSeconds(data))).toBeLessThan(20)
})
