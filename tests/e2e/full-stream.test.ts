import { streams } from '@avatar/contracts'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { expectAllCompletedOnce, type System, startSystem, until } from '../harness/index.ts'

const noticedWithinMs = 5_000

let system: System
beforeAll(async () => {
  system = await startSystem()
})
afterAll(async () => {
  expect(await system.stop()).toEqual([])
})

it('a full event stream is logged and reported by /health, and every job completes once there is room', async () => {
  const submitted = await Promise.all(
    ['a', 'b', 'c'].map(() => system.client.submit({ prompt: 'null:seconds=1' })),
  )
  const jobIds = submitted.map(({ jobId }) => jobId)
  await Promise.any(
    jobIds.map((jobId) => system.client.untilView(jobId, ({ stage }) => stage === 'rendering')),
  )
  const broker = await system.broker()
  const linesBefore = system.lines.length
  const giveMore = await broker.takeNoMore(streams.EVENTS.name)

  const isMeant = (line: string) => line.includes('message not stored') && line.includes('evt.')
  await until(() => system.lines.slice(linesBefore).some(isMeant), {
    timeoutMs: noticedWithinMs,
    what: 'a line about an event that is not stored',
  })
  const health = await until(
    async () => {
      const now = await system.client.health()
      return now.full_streams.includes('EVENTS') && now
    },
    { timeoutMs: noticedWithinMs, what: 'EVENTS among the full streams' },
  )
  expect(health.status).toBe('unavailable')
  expect((await system.client.send('/health')).status).toBe(503)
  expect((await system.client.submit()).status).toBe(503)

  await giveMore()
  await expectAllCompletedOnce(system, jobIds)
  await until(async () => (await system.client.health()).full_streams.length === 0)
  const { jobId, error } = await system.client.submit()
  expect(error).toBeUndefined()
  await expectAllCompletedOnce(system, [jobId])
})
