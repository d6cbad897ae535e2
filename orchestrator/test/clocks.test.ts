import type { JobRecord } from '@avatar/contracts'
import { type Clock, systemClock } from '@avatar/service-kit'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createWorld, type World } from './world.ts'

const minuteMs = 60_000

let world: World
beforeAll(async () => {
  world = await createWorld()
})
afterAll(() => world.stop())

const timesOf = ({ createdAtMs, queuedAtMs, startedAtMs, finishedAtMs }: JobRecord) => [
  ...[createdAtMs, queuedAtMs ?? 0, startedAtMs ?? 0, finishedAtMs ?? 0],
]

it('writes times in their order, and near the time of the broker, whatever its machines say', async () => {
  const beganMs = Date.now()
  const shift = { aheadMs: -20 * minuteMs }
  const machine: Clock = { ...systemClock, nowMs: () => Date.now() + shift.aheadMs }
  const first = await world.startOrchestrator(machine)
  const { worker, job } = await world.rendering()
  await first.stop()

  const ahead: Clock = { ...systemClock, nowMs: () => Date.now() + 20 * minuteMs }
  const second = await world.startOrchestrator(ahead)
  const granted = await worker.store(job, 1)
  // The store refuses a link that was signed twenty minutes ago, or for a day to come.
  if (granted.answer !== 'grant') throw new Error(granted.answer)
  const signedAt = new URL(granted.url).searchParams.get('X-Amz-Date') ?? ''
  const iso = signedAt.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5')
  expect(Math.abs(Date.parse(iso) - Date.now())).toBeLessThan(minuteMs)
  await worker.upload(job, 1)
  await worker.completes(job, 1)
  const done = await world.reaches(job, 'completed')
  await second.stop()

  const times = timesOf(done)
  expect(times).toEqual(times.toSorted((a, b) => a - b))
  expect(Math.min(...times)).toBeGreaterThanOrEqual(beganMs - 1_000)
  expect(Math.max(...times)).toBeLessThanOrEqual(Date.now() + 1_000)

  // One whose clock is set back and forth while it runs, and a job from an ingest that was ahead.
  const third = await world.startOrchestrator(machine)
  const early = await world.submit({ createdAtMs: Date.now() + 20 * minuteMs })
  await world.reaches(early, 'queued')
  shift.aheadMs = 7 * 60 * minuteMs
  const order = await worker.takes(early)
  expect((await fetch(order.image.url)).status).toBe(404) // Signed well: there is no such object.
  await worker.reports('failed', early, 1)
  const queuedAgain = await world.reaches(early, 'queued')
  shift.aheadMs = -7 * 60 * minuteMs
  expect((await worker.takes(queuedAgain)).epoch).toBe(2)
  await worker.reports('started', early, 2)
  await world.reaches(early, 'rendering')
  await worker.upload(early, 2)
  await worker.completes(early, 2)
  const ended = timesOf(await world.reaches(early, 'completed'))
  expect(ended).toEqual(ended.toSorted((a, b) => a - b))
  await third.stop()
})
