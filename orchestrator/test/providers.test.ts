import type { Wake } from '@avatar/contracts'
import { Secret } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type FakeRunPod, startFakeRunPod } from '../../tests/harness/runpod/start-fake-runpod.ts'
import { refusals, type WorkerProvider } from '../src/scale/providers/provider.ts'
import { runPodProvider } from '../src/scale/providers/runpod.ts'
import { kubernetesProvider, noProvider } from '../src/scale/providers/silent.ts'

const wake: Wake = {
  wakeId: '0123456789abcdef01234567',
  provider: 'runpod',
  pool: 'runpod',
  state: 'intended',
  intendedAtMs: 1_700_000_000_000,
}

/** RunPod, as far as we know it, whose workers do nothing. */
async function runPod(difference: Partial<Parameters<typeof runPodProvider>[0]> = {}) {
  const fake = await startFakeRunPod({ command: ['sleep', '60'], perMinute: 1_000 })
  onTestFinished(() => fake.stop())
  const provider = runPodProvider({
    endpointId: fake.endpointId,
    apiKey: new Secret(fake.apiKey),
    ...{ apiUrl: `${fake.url}/v2`, jobApiUrl: `${fake.url}/v2` },
    ...{ maxWorkers: 5, lifetimeMs: 21_600_000, wakeDeadlineMs: 600_000, timeoutMs: 10_000 },
    ...difference,
  })
  return { fake, provider }
}

const kinds: Record<WorkerProvider['name'], () => Promise<WorkerProvider>> = {
  none: async () => noProvider,
  kubernetes: async () => kubernetesProvider,
  runpod: async () => (await runPod()).provider,
}

describe.each(Object.entries(kinds))('the provider %s', (name, create) => {
  it('has its own name, and rings or not', async () => {
    const provider = await create()
    expect([provider.name, provider.rings]).toEqual([name, name === 'runpod'])
  })

  it('takes an order or refuses it, and takes the same one again', async () => {
    const provider = await create()
    for (const answer of [await provider.ring(wake), await provider.ring(wake)])
      if ('ref' in answer) expect(answer.ref).not.toBe('')
      else expect(refusals).toContain(answer.refused)
  })

  it('takes back an order, and one that it does not know', async () => {
    const provider = await create()
    const answer = await provider.ring(wake)
    if ('ref' in answer) await provider.withdraw(answer.ref)
    await expect(provider.withdraw('unknown')).resolves.toBeUndefined()
  })

  it('says what it charged for a day, if it charges at all', async () => {
    const provider = await create()
    expect(await provider.billOf('2026-11-28')).toBe(name === 'runpod' ? 0 : undefined)
  })

  it('says how it stands, and has nothing to put right', async () => {
    const provider = await create()
    const survey = await provider.survey()
    expect(survey.throttledWorkers).toBe(0)
    expect(survey.maxWorkers).toBe(name === 'runpod' ? 5 : undefined)
    expect(await provider.repair(survey, false)).toEqual([])
  })

  it('shows a sign of life without a worker', async () => {
    await expect((await create()).showSignOfLife()).resolves.toBeUndefined()
  })
})

const queued = (fake: FakeRunPod) => fake.control.show().jobs

describe('RunPod', () => {
  it('is told of a wake-up and of nothing else', async () => {
    const { fake, provider } = await runPod()
    await provider.ring(wake)
    expect(queued(fake)).toMatchObject([
      {
        input: { kind: 'drain', wakeId: wake.wakeId },
        policy: { executionTimeout: 21_600_000, ttl: 600_000 + 21_600_000 + 300_000 },
      },
    ])
    expect(Object.keys(queued(fake)[0]?.input ?? {})).toEqual(['kind', 'wakeId'])
  })

  it.each([
    ['429', { refused: 'rate-limited', retryAfterMs: 2_000 }],
    ['500', { refused: 'away' }],
    ['no-credit', { refused: 'no-credit' }],
    ['reply-lost', { refused: 'away' }],
  ] as const)('that answers %s is understood', async (trouble, refusal) => {
    const { fake, provider } = await runPod()
    fake.control.act({ plan: [trouble] })
    expect(await provider.ring(wake)).toEqual(refusal)
  })

  it('whose key is wrong refuses, and does not say how it stands', async () => {
    const { provider } = await runPod({ apiKey: new Secret('another-key') })
    expect(await provider.ring(wake)).toEqual({ refused: 'not-allowed' })
    await expect(provider.survey()).rejects.toMatchObject({ code: 'PROVIDER_UNAVAILABLE' })
  })

  it('that is not there is away', async () => {
    const { fake, provider } = await runPod()
    await fake.stop()
    expect(await provider.ring(wake)).toEqual({ refused: 'away' })
    await expect(provider.withdraw('x')).rejects.toMatchObject({ code: 'PROVIDER_UNAVAILABLE' })
  })

  it('whose doorbell is taken back starts nobody for it any more', async () => {
    const { fake, provider } = await runPod()
    const answer = await provider.ring(wake)
    if (!('ref' in answer)) throw new Error(answer.refused)
    await provider.withdraw(answer.ref)
    expect(queued(fake)).toMatchObject([{ status: 'CANCELLED' }])
  })

  it('that has set the endpoint to no workers is put right, and the endpoint keeps all else', async () => {
    const { fake, provider } = await runPod()
    const before = fake.endpoint()
    fake.control.act({ max: 0 })
    expect(await provider.survey()).toMatchObject({ maxWorkers: 0 })
    expect(await provider.repair(await provider.survey(), false)).toHaveLength(1)
    expect(fake.endpoint()).toEqual(before)
  })

  it('that has no GPU of the preferred kind is asked for the others too, and later for that one alone', async () => {
    const gpuPools = ['ADA_48_PRO', 'AMPERE_48']
    const { fake, provider } = await runPod({ gpuPools })
    fake.control.act({ isThrottled: true })
    await provider.ring(wake)
    const survey = await until(async () => {
      const found = await provider.survey()
      return found.throttledWorkers > 0 && found
    })
    expect(survey).toMatchObject({ otherWorkers: 0, gpuPools: ['ADA_48_PRO'] })
    await provider.repair(survey, true)
    expect(fake.endpoint().gpu.pools).toEqual(gpuPools)
    await provider.repair(await provider.survey(), false)
    expect(fake.endpoint().gpu.pools).toEqual(['ADA_48_PRO'])
  })

  it('sees a sign of life as a job that calls for no worker', async () => {
    const { fake, provider } = await runPod()
    await provider.showSignOfLife()
    expect(queued(fake)).toMatchObject([{ policy: { lowPriority: true, ttl: 10_000 } }])
    expect(fake.jobs.active()).toBe(0)
  })
})
