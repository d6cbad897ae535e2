import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import {
  expectCompletedOnce,
  patientOrchestrator,
  type System,
  startSystem,
  until,
} from '../harness/index.ts'

/** How long the store is away in the one test that is about that; at night it is half an hour. */
const awayMs = 1000 * Number(process.env['STORE_AWAY_SECONDS'] || 5)
/** How often an upload is tried before the render stays spooled for a while. */
const uploadTries = 3
/** A worker gives up after two hours, divided as all waits are: half an hour would be too long for it. */
const patientWorker: Record<string, string> =
  awayMs > 60_000 ? { SIDECAR_TIMINGS_DIVISOR: '2' } : {}

describe('while the store is in trouble', () => {
  let system: System
  const store = () => system.proxies.toStore()
  beforeAll(async () => {
    system = await startSystem({
      hasStoreProxy: true,
      env: { ...patientOrchestrator, ...patientWorker },
    })
  })
  afterEach(() => store().heal())
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  })

  const outputs = /^\/[^/]+\/jobs\/[^/]+\/out\//
  const refusals = (method: string) =>
    store().seen.filter((each) => each.method === method && each.status === 503).length

  async function renderedWhileNoUploadSucceeds() {
    store().misbehave({ kind: 'error', method: 'PUT', path: outputs })
    const { jobId } = await system.client.submit({ prompt: 'null:seconds=0.2' })
    const before = refusals('PUT')
    await until(() => refusals('PUT') >= before + uploadTries, { what: 'three refused uploads' })
    expect((await system.client.status(jobId)).stage).toBe('storing')
    return jobId
  }

  it.each(['error', 'reset', 'stall'] as const)(
    'submitting answers 503 in time, and the same request is accepted afterwards: %s',
    async (kind) => {
      store().misbehave({ kind, method: 'PUT' })
      const submission = { idempotencyKey: `submit: ${kind}` }
      const refused = await system.client.submit(submission)
      expect(refused).toMatchObject({ status: 503, error: { code: 'STORE_UNAVAILABLE' } })
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
      store().heal()
      const jobId = await system.client.submitUntilAccepted(submission)
      await expectCompletedOnce(system, jobId, { attempt: 1 })
    },
  )

  it('an upload is tried again and again, and the worker renders the next job meanwhile', async () => {
    const first = await renderedWhileNoUploadSucceeds()
    const second = await system.client.submit()
    await system.client.untilView(second.jobId, ({ stage }) => stage === 'storing')
    store().heal()
    await expectCompletedOnce(system, first, { attempt: 1 })
    await expectCompletedOnce(system, second.jobId, { attempt: 1 })
  })

  it(
    'what is rendered waits on disk for as long as the store is away, and is stored then',
    async () => {
      const spooled = [await renderedWhileNoUploadSucceeds(), await renderedWhileNoUploadSucceeds()]
      store().misbehave({ kind: 'error' })
      const awayUntilMs = performance.now() + awayMs
      const during = { idempotencyKey: 'while the store is away' }
      await until(
        async () => {
          expect((await system.client.submit(during)).status).toBe(503)
          for (const jobId of spooled)
            expect((await system.client.status(jobId)).stage).toBe('storing')
          return performance.now() > awayUntilMs
        },
        { what: 'the end of the outage', timeoutMs: 2 * awayMs + 60_000, everyMs: 1_000 },
      )
      store().heal()
      const after = await system.client.submitUntilAccepted(during)
      for (const jobId of [...spooled, after])
        await expectCompletedOnce(system, jobId, { attempt: 1 })
      console.log(
        `store away: ${awayMs / 1000} seconds, ${spooled.length} renders waited on disk and were stored, ` +
          `none rendered again`,
      )
    },
    60 * 60_000,
  )

  it.each(['SIGKILL', 'SIGSTOP and SIGKILL'])(
    'a spooled render survives its worker and is not rendered again: %s',
    async (how) => {
      const jobId = await renderedWhileNoUploadSucceeds()
      const pid = await system.pidOf('sidecar')
      if (how !== 'SIGKILL' && pid) process.kill(pid, 'SIGSTOP')
      await system.kill('sidecar')
      store().heal()
      await expectCompletedOnce(system, jobId, { attempt: 1 })
      const facts = await (await system.broker()).factsOf(jobId)
      expect(facts.filter(({ type }) => type === 'render.started')).toHaveLength(1)
    },
  )

  it.each([
    ['inputs that cannot be downloaded', { kind: 'error', method: 'GET', times: 4 }],
    ['inputs that never arrive', { kind: 'stall', method: 'GET', times: 2 }],
    ['inputs that break off', { kind: 'reset', method: 'GET', times: 4 }],
    ['an upload that is never answered', { kind: 'stall', method: 'PUT', path: outputs, times: 1 }],
    ['an upload that breaks off', { kind: 'reset', method: 'PUT', path: outputs, times: 5 }],
    ['a check that fails', { kind: 'error', method: 'HEAD', path: outputs, times: 7 }],
    ['a check that is never answered', { kind: 'stall', method: 'HEAD', path: outputs, times: 1 }],
  ] as const)('costs no attempt: %s', async (_, fault) => {
    const path = 'path' in fault ? fault.path : /\/input\//
    const proxy = store()
    const { jobId } = await system.client.submit({ prompt: 'null:seconds=3' })
    proxy.misbehave({ ...fault, path })
    await expectCompletedOnce(system, jobId, { attempt: 1 })
  })
})
