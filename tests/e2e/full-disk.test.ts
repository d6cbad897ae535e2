import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  expectAllCompletedOnce,
  mountSmallDisk,
  type SmallDisk,
  type System,
  startSystem,
  until,
} from '../harness/index.ts'

/** The broker's files lie on a disk of their own, in the data folder. */
let disk: SmallDisk | undefined
let dataDir: string
let system: System
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'avatar-e2e-'))
  disk = await mountSmallDisk(join(dataDir, 'nats'), 32 * 2 ** 20)
  if (disk) system = await startSystem({ dataDir })
})
afterAll(async () => {
  if (disk) expect(await system.stop()).toEqual([])
  await disk?.unmount()
  await rm(dataDir, { recursive: true, force: true })
})

type DoctorReport = { findings: { name: string; isGood: boolean; seen: string; repair?: string }[] }

/** What `avatar doctor` finds wrong, by name. It ends with 1 then. */
async function doctor() {
  const run = await system.cli('doctor', '--json').catch((error: { stdout: string }) => error)
  const { findings } = JSON.parse(run.stdout) as DoctorReport
  const bad = findings.filter(({ isGood }) => !isGood)
  return new Map(bad.map(({ name, seen, repair }) => [name, `${seen} → ${repair}`]))
}

it('a full disk of the broker is named by all who are asked, and submissions go on once it has room', async ({
  skip,
}) => {
  if (!disk) return skip('only root may mount a small disk')
  const before = await Promise.all(
    ['a', 'b', 'c'].map(() => system.client.submit({ prompt: 'null:seconds=1' })),
  )
  const accepted = before.map(({ jobId }) => jobId)
  await disk.fill()

  const refused = await until(
    async () => {
      const answer = await system.client.submit()
      if (answer.status === 201) accepted.push(answer.jobId)
      return answer.error?.details['problem'] === 'disk_full' && answer
    },
    { what: 'a submission refused for the disk' },
  )
  expect(refused.status).toBe(503)
  expect(refused.error?.message).toContain("The broker's disk is full. Make room on it")
  // Everybody who asks within a second shares one answer.
  const health = await until(async () => {
    const answer = await system.client.health()
    return answer.status === 'unavailable' && answer
  })
  expect(health.nats).toBe('unavailable')
  expect(health.problems.join()).toContain("The broker's disk is full")
  const { ports } = (await system.stack()).processes.ingest
  const ready = await fetch(`http://127.0.0.1:${ports['metrics']}/readyz`)
  expect(await ready.text()).toContain("The broker's disk is full")
  const found = await doctor()
  expect(found.get('broker disk')).toContain(`make room on the disk of ${disk.path}`)
  expect(found.get('readiness')).toContain("The broker's disk is full")

  await disk.makeRoom()
  await until(() => system.lines.some((line) => line.includes('its disk has room: restarting')))
  const { jobId } = await until(async () => {
    const answer = await system.client.submit()
    return answer.status === 201 && answer
  })
  await expectAllCompletedOnce(system, [...accepted, jobId])
  expect((await system.client.health()).problems).toEqual([])
})
