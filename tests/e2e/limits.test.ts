import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Client,
  holdWorkers,
  portrait,
  rendersOf,
  runExamplePublisher,
  type System,
  startSystem,
  submitMany,
  until,
  voice,
} from '../harness/index.ts'

const workers = 2

/** A change of limits is in force by then. */
const inForceWithinMs = 5_000

describe('the limits of one owner', () => {
  let system: System
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'avatar-limits-'))
    system = await startSystem({
      replicas: `sidecar=${workers}`,
      env: { POOL_PRICES: 'local=0.001', NULL_SECONDS_PER_VIDEO_SECOND: '0.1' },
    })
  })
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true })
    expect(await system.stop()).toEqual([])
  })

  const setLimits = (name: string, ...limits: string[]) =>
    system.cli('keys', 'limits', name, ...limits)

  const untilAccepted = (client: Client) =>
    until(async () => (await client.submit()).status === 201, {
      timeoutMs: inForceWithinMs,
      what: 'an accepted submission',
    })

  it('a budget that is spent refuses further jobs, until the operator lifts it', async () => {
    const spender = system.clientWith(await system.createKey('spender'))
    await setLimits('spender', '--budget-per-day', '0.001')
    const { jobId } = await spender.submit({ prompt: 'null:seconds=1.2' })
    const { cost } = await spender.untilEnded(jobId, 'completed')
    const refused = await until(
      async () => {
        const answer = await spender.submit()
        return answer.status !== 201 && answer
      },
      { timeoutMs: inForceWithinMs, what: 'a refused submission' },
    )
    expect(refused.status).toBe(402)
    expect(refused.error).toMatchObject({ code: 'BUDGET_EXHAUSTED' })
    const { details } = refused.error ?? {}
    expect(details).toMatchObject({ period: 'day', limit: '0.001', spent: cost?.amount })
    expect(details).toHaveProperty('committed')
    const { budget_per_day } = await spender.usage()
    expect(details).toMatchObject({ resets_at: budget_per_day.resets_at })
    expect(budget_per_day).toMatchObject({ limit: '0.001', used: cost?.amount })

    await setLimits('spender', '--unset', 'budget-per-day')
    await untilAccepted(spender)
  })

  it('too many unfinished jobs refuse the next one, until the operator lifts the limit', async () => {
    const eager = system.clientWith(await system.createKey('eager'))
    await setLimits('eager', '--unfinished-jobs', '2')
    const release = await holdWorkers(system, workers)
    await until(async () => (await eager.usage()).unfinished_jobs.limit === 2)
    for (const _ of [1, 2]) expect((await eager.submit()).status).toBe(201)
    const { status, error, headers } = await eager.submit()
    expect(status).toBe(429)
    expect(error).toMatchObject({ code: 'TOO_MANY_JOBS' })
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)

    await setLimits('eager', '--unset', 'unfinished-jobs')
    await untilAccepted(eager)
    await release()
  })

  it('one who may render one job at once never renders two, though a worker is free', async () => {
    const capped = system.clientWith(await system.createKey('capped'))
    await setLimits('capped', '--renders', '1')
    await until(async () => (await capped.usage()).renders.limit === 1)
    const first = (await capped.submit({ prompt: 'null:seconds=3600' })).jobId
    await capped.untilView(first, ({ stage }) => stage === 'rendering')
    const jobIds = await submitMany(capped, 4, { prompt: 'null:seconds=0.2' })
    for (const jobId of jobIds) {
      const view = await capped.untilView(jobId, ({ stage }) => stage !== 'accepted')
      expect(view).toMatchObject({ waiting_for: 'own_jobs', queue_position: null, attempt: 0 })
    }
    await capped.cancel(first)
    for (const jobId of jobIds) await capped.untilEnded(jobId, 'completed')
    const renders = await rendersOf(system, jobIds)
    expect(renders).toHaveLength(jobIds.length)
    for (const [at, { startedAtMs }] of renders.entries())
      expect(startedAtMs).toBeGreaterThanOrEqual(renders[at - 1]?.endedAtMs ?? 0)
  })

  it('tells a publisher that its budget is spent, and keeps no dead letter', async () => {
    const credentials = join(folder, 'acme.json')
    const { stdout } = await system.cli('publishers', 'create', 'acme', '--json')
    await writeFile(credentials, stdout)
    const [image, audio] = [join(folder, 'face.png'), join(folder, 'voice.wav')]
    await writeFile(image, portrait())
    await writeFile(audio, voice())
    const publish = () =>
      runExamplePublisher({ credentials, image, audio, out: join(folder, 'acme.mp4') })

    await system.cli('publishers', 'limits', 'acme', '--budget-per-day', '0')
    const refused = await until(() => publish().then(() => undefined, Object), {
      what: 'a refused event',
    })
    expect(refused).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('rejected: BUDGET_EXHAUSTED'),
    })
    expect(await (await system.broker()).count('DLQ', 'dlq.>')).toBe(0)

    await system.cli('publishers', 'limits', 'acme', '--unset', 'budget-per-day')
    const published = await until(() => publish().catch(() => undefined), {
      what: 'an accepted event',
    })
    expect(published.stdout).toContain('completed')
  })
})
