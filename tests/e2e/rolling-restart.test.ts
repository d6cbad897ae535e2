import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  createBalancedClient,
  isAlive,
  portrait,
  type StreamedFact,
  type System,
  startSystem,
  until,
  uploadSlowly,
  type Victim,
  voice,
} from '../harness/index.ts'

const restarts = Number(process.env['RESTARTS'] || 4)
/** A night's restarts take longer than a test usually may. */
const testTimeoutMs = 600_000 + restarts * 30_000
/** One after the other, as a rolling update replaces them. */
const victims: readonly Victim[] = ['ingest', 'ingest-2', 'orchestrator', 'orchestrator-2']
/** A process that is told to leave has so long. */
const leavesWithinMs = 30_000
/** Customers on slow lines, who submit a job, follow it to its end, and submit the next. */
const customers = 4

let system: System
beforeAll(async () => {
  system = await startSystem({ replicas: 'ingest=2,orchestrator=2' })
})
afterAll(async () => {
  expect(await system.stop()).toEqual([])
})

it(
  'replaces every service in turn: no request fails, and no event is missed',
  async () => {
    const { replicas } = await system.stack()
    const second = `http://127.0.0.1:${replicas['ingest-2']?.ports['http']}`
    const doors: Readonly<Record<string, string>> = { ingest: system.url, 'ingest-2': second }
    const client = createBalancedClient(Object.values(doors), await system.createKey('customers'))
    const refused: string[] = []
    const followed = new Map<string, StreamedFact[]>()
    let isOver = false
    let busy = 0

    async function call(path: string, made?: () => RequestInit) {
      const answer = await client.send(path, made)
      if (answer.ok) return answer
      const text = await answer.text()
      // The broker of a busy machine may not answer in time, whoever restarts.
      if (text.includes('BROKER_UNAVAILABLE') && answer.headers.has('retry-after')) busy++
      else refused.push(`${path} ${answer.status} ${text}`)
      return undefined
    }

    async function submitAndFollow() {
      while (!isOver) {
        const body = new FormData()
        body.set('image', new Blob([new Uint8Array(portrait())]), 'image')
        body.set('audio', new Blob([new Uint8Array(voice({ seconds: 1 }))]), 'audio')
        body.set('prompt', 'null:prepared null:seconds=0.8')
        const headers = { 'idempotency-key': randomUUID() }
        const answer = await call('/generate', await uploadSlowly(body, headers))
        if (!answer) continue
        const { data } = (await answer.json()) as { data: { job_id: string } }
        followed.set(data.job_id, await client.follow(data.job_id))
      }
    }

    async function look() {
      while (!isOver) await (await call('/jobs'))?.text()
    }

    async function replace(victim: Victim): Promise<number> {
      const pid = (await system.pidOf(victim)) ?? 0
      const ended = followed.size
      const url = doors[victim]
      if (url) await client.leaveOut(url)
      const toldAtMs = performance.now()
      const restarting = system.kill(victim, 'SIGTERM')
      await until(() => !isAlive(pid), { what: `the end of ${victim}` })
      const tookMs = performance.now() - toldAtMs
      await restarting
      if (url) {
        await until(async () => (await fetch(`${url}/health`).catch(() => undefined))?.ok, {
          what: `${victim} in service`,
        })
        client.takeBack(url)
      }
      await until(() => followed.size > ended + 1, { what: 'jobs that end' })
      return tookMs
    }

    const working = Promise.all([...Array.from({ length: customers }, submitAndFollow), look()])
    working.catch(() => undefined) // It is awaited below.
    const exitsMs: number[] = []
    for (let restart = 0; restart < restarts; restart++)
      exitsMs.push(await replace(victims[restart % victims.length] ?? 'ingest'))
    isOver = true
    await working

    let events = 0
    let missed = 0
    for (const [jobId, facts] of followed) {
      const all = await client.follow(jobId)
      expect(all.at(-1)?.event, jobId).toBe('completed')
      events += all.length
      missed += all.filter(({ id }) => !facts.some((fact) => fact.id === id)).length
      expect(facts, jobId).toEqual(all)
    }
    const { requests, resumed, unanswered } = client.tally()
    const failed = [...unanswered, ...refused]
    console.log(
      `rolling restart: ${restarts} restarts, ${requests} requests, ${failed.length} failed, ${busy} asked again after a 503, ` +
        `${followed.size} jobs followed by ${resumed} resumed streams, ${missed} of ${events} events missed, ` +
        `slowest exit ${(Math.max(...exitsMs) / 1_000).toFixed(1)} s`,
    )
    expect(failed).toEqual([])
    expect(Math.max(...exitsMs)).toBeLessThan(leavesWithinMs)
  },
  testTimeoutMs,
)
