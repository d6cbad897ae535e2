import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseAmount } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  type Client,
  expectAllCompletedOnce,
  expectCompletedOnce,
  killAtRandom,
  processNames,
  type System,
  seededRandom,
  startSystem,
  until,
  type Victim,
} from '../harness/index.ts'

const victims: readonly Victim[] = [...processNames, 'ingest-2', 'orchestrator-2', 'child']
const kills = 25
const owners = 4
const jobs = 25

/** Of a GPU second, so that an amount tells seconds to the millisecond. */
const price = 0.001
/** Of a worker that is killed: what it did since its last heartbeat, nobody knows. */
const unheardSeconds = 0.5

const sumSchema = z.object({ gpu_seconds: z.number(), amount: z.string() })
const costsSchema = z.object({
  charged: sumSchema,
  ours: sumSchema,
  waste: sumSchema,
  total: sumSchema,
})
const reportSchema = z.object({
  currency: z.string(),
  rows: z.array(costsSchema.extend({ name: z.string().nullable() })),
  total: costsSchema,
})

describe('what jobs cost', () => {
  let system: System
  let folder: string
  let clients: Client[]
  let startedAtMs: number
  beforeAll(async () => {
    startedAtMs = performance.now()
    folder = await mkdtemp(join(tmpdir(), 'avatar-ledger-'))
    system = await startSystem({
      replicas: 'ingest=2,orchestrator=2',
      env: { POOL_PRICES: `local=${price}`, NULL_BUSY_LOG: join(folder, 'busy') },
    })
    clients = []
    for (let number = 1; number <= owners; number++)
      clients.push(system.clientWith(await system.createKey(`owner-${number}`)))
  })
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true })
    expect(await system.stop()).toEqual([])
  })

  async function costs(...options: string[]) {
    const { stdout } = await system.cli('costs', '--json', ...options)
    return reportSchema.parse(JSON.parse(stdout))
  }

  const secondsOf = ({ amount }: { amount: string }) => parseAmount(amount) / 1e6 / price

  /** What the engine itself counted, all its processes together. */
  async function busySeconds(): Promise<number> {
    const lines = await readFile(join(folder, 'busy'), 'utf8')
    return lines.split('\n').reduce((sum, line) => sum + Number(line), 0)
  }

  it('loses nothing and charges every job once, through 25 random kills', async () => {
    const seed = Number(process.env['CHAOS_SEED'] || Date.now() % 1_000_000)
    console.log(`chaos: CHAOS_SEED=${seed}`)
    const random = seededRandom(seed + 1)
    const submitting = Promise.all(
      Array.from({ length: jobs }, (_, number) =>
        clients[number % owners]?.submitUntilAccepted({
          prompt: `null:seconds=${random(15) / 10}`,
          idempotencyKey: `chaos-${number}`,
        }),
      ),
    )
    const killed = await killAtRandom(system, { seed, kills, pauseMs: 500, victims })
    console.log(`chaos: killed ${killed.join(', ')}`)
    const accepted = await submitting
    let attempts = 0
    for (const [at, client] of clients.entries()) {
      const jobIds = accepted.filter((_, number) => number % owners === at)
      const options = { client }
      const views = await expectAllCompletedOnce(system, jobIds.map(String), options)
      attempts += views.reduce((sum, { attempt }) => sum + attempt, 0)
      const { jobs: own } = await client.jobs()
      expect(own.map(({ job_id }) => job_id).sort()).toEqual(jobIds.toSorted())
    }
    const broker = await system.broker()
    expect(await broker.count('LEDGER', 'ledger.job.>')).toBe(jobs)

    const busy = await busySeconds()
    const unheard = unheardSeconds * killed.filter((victim) => victim === 'sidecar').length
    const known = async () => {
      const { total } = await costs()
      const [charged, ours, waste] = [total.charged, total.ours, total.waste].map(secondsOf)
      return { charged: charged ?? 0, ours: ours ?? 0, waste: waste ?? 0 }
    }
    // A worker's time is posted each minute, and when it has fallen silent.
    const { charged, ours, waste } = await until(
      async () => {
        const sums = await known()
        const all = sums.charged + sums.ours + sums.waste
        return all >= 0.99 * busy - unheard && sums
      },
      { timeoutMs: 30_000, everyMs: 1_000, what: `${busy} busy seconds in the costs` },
    ).catch(async (error: unknown) => {
      throw new Error(`the costs are ${JSON.stringify(await known())}`, { cause: error })
    })
    console.log(
      `costs: the engine was busy for ${busy.toFixed(2)} s in ${attempts} attempts; charged ` +
        `${charged.toFixed(2)}, ours ${ours.toFixed(2)}, waste ${waste.toFixed(2)}`,
    )
    // There is one GPU: a second that is booked twice makes more of them than have passed.
    const passedSeconds = (performance.now() - startedAtMs) / 1000
    expect(charged + ours + waste).toBeLessThanOrEqual(passedSeconds)
    let postedSeconds = 0
    for (const jobId of accepted) {
      const [posting] = await broker.postingsOf(String(jobId))
      const { attempts: own = [], charged: paid, ours: unpaid } = posting ?? {}
      expect(new Set(own.map(({ epoch }) => epoch)).size).toBe(own.length)
      const sum = own.reduce((seconds, { gpuSeconds }) => seconds + gpuSeconds, 0)
      expect(Number(paid?.gpuSeconds) + Number(unpaid?.gpuSeconds)).toBeCloseTo(sum, 3)
      postedSeconds += sum
    }
    expect(charged + ours).toBeCloseTo(postedSeconds, 0)
  })

  it('charges a job once that was lost twice', async () => {
    const [client = system.client] = clients
    const { jobId } = await client.submit({ seconds: 12, prompt: 'null:seconds=4' })
    for (const lost of [1, 2]) {
      await client.untilView(jobId, (view) => view.attempt === lost && view.progress > 20)
      await system.kill('sidecar')
    }
    const view = await expectCompletedOnce(system, jobId, { attempt: 3, client })
    const record = await (await system.broker()).recordOf(jobId)
    const spent = record?.spent ?? []
    expect(spent.map(({ end, isCharged }) => ({ end, isCharged }))).toEqual([
      { end: 'lost', isCharged: false },
      { end: 'lost', isCharged: false },
      { end: 'completed', isCharged: true },
    ])
    expect(view.cost).toMatchObject({ is_final: true })
    expect(secondsOf(view.cost ?? { amount: '0' })).toBeCloseTo(spent[2]?.gpuSeconds ?? 0, 2)
    expect(spent[0]?.gpuSeconds).toBeGreaterThan(0)
  })

  it('tells an owner and the operator the same', async () => {
    const { rows, total, currency } = await costs('--by', 'owner')
    const charged: number[] = []
    for (const client of clients) {
      const { jobs: own } = await client.jobs()
      expect(own.every(({ cost }) => cost?.is_final && cost.currency === currency)).toBe(true)
      const sum = own.reduce((micros, { cost }) => micros + parseAmount(cost?.amount ?? '0'), 0)
      await until(async () => parseAmount((await client.usage()).budget_per_month.used) === sum, {
        what: `${sum} in the usage of an owner`,
      })
      charged.push(sum)
    }
    const paying = rows.filter(({ name }) => name).map((row) => parseAmount(row.charged.amount))
    expect(paying.filter((micros) => micros > 0).toSorted((a, b) => a - b)).toEqual(
      charged.toSorted((a, b) => a - b),
    )
    expect(parseAmount(total.charged.amount)).toBe(charged.reduce((sum, each) => sum + each, 0))
    expect(charged.every((micros) => micros > 0)).toBe(true)
  })
})
