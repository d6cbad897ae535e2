import { jobPrefix, type ServiceName } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Cut,
  expectCompletedOnce,
  patientOrchestrator,
  type System,
  startSystem,
  until,
  within,
} from '../harness/index.ts'

/** A write of the job's record in this state. */
const record = (state: string, field = ''): Pick<Cut, 'subject' | 'payload'> => ({
  subject: /^\$KV\.job\./,
  payload: new RegExp(`"state":"${state}".*${field}`),
})
const event = (type: string) => ({ subject: new RegExp(`^evt\\.${type}\\.`) })
const acknowledged = (consumer: string) => ({
  subject: new RegExp(`^\\$JS\\.ACK\\.${consumer}\\.`),
  payload: /^\+ACK/,
})

/**
 * Follows one job and kills each service between every two steps whose effects are visible from
 * outside.
 */
describe('kill -9 at a chosen line', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem({
      proxied: ['ingest', 'orchestrator', 'janitor', 'sidecar'],
      env: patientOrchestrator,
    })
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  })

  /** Kills a service at the step that the cut describes; `act` makes the service reach it. */
  async function killAt<T>(service: ServiceName, cut: Cut, act: () => Promise<T>): Promise<T> {
    const reached = system.proxies.toBroker(service).cut(cut)
    const acting = act()
    acting.catch(() => undefined) // Awaited only once the service is dead.
    await within(reached, 30_000, `${cut.when} ${cut.subject} of ${service}`)
    await system.kill(service)
    return acting
  }

  describe('ingest', () => {
    const submit = (key: string) => system.client.submit({ idempotencyKey: key }).catch(() => null)

    it('before the record: the client gets no answer, and the same request creates the job', async () => {
      const cut: Cut = { when: 'before', ...record('pending') }
      expect(await killAt('ingest', cut, () => submit('before the record'))).toBeNull()
      const jobId = await system.client.submitUntilAccepted({ idempotencyKey: 'before the record' })
      await expectCompletedOnce(system, jobId, { attempt: 1 })
    })

    it('after the record: the job completes although its event was never published', async () => {
      const owner = system.clientWith(await system.createKey('after the record'))
      const cut: Cut = { when: 'after', ...record('pending') }
      const answer = await killAt('ingest', cut, () => owner.submit().catch(() => null))
      expect(answer).toBeNull()
      const jobs = await until(async () => (await owner.jobs().catch(() => undefined))?.jobs)
      expect(jobs).toHaveLength(1)
      await expectCompletedOnce(system, jobs[0]?.job_id ?? '', { attempt: 1, client: owner })
    })

    it('before the 201: a repeated request gets the same job', async () => {
      const cut: Cut = { when: 'after', ...event('job.submitted') }
      expect(await killAt('ingest', cut, () => submit('before the 201'))).toBeNull()
      const jobId = await system.client.submitUntilAccepted({ idempotencyKey: 'before the 201' })
      await expectCompletedOnce(system, jobId, { attempt: 1 })
    })
  })

  describe('orchestrator', () => {
    const lines: Record<string, Cut> = {
      'before it is queued': { when: 'before', ...record('queued') },
      'queued, no event': { when: 'after', ...record('queued') },
      'queued, not acknowledged': { when: 'before', ...acknowledged('EVENTS.orchestrator') },
      'before the claim is written': { when: 'before', ...record('claimed') },
      'claimed, not answered': { when: 'after', ...record('claimed') },
      'before it renders': { when: 'before', ...record('rendering') },
      'rendering, no event': { when: 'after', ...record('rendering') },
      'started, not acknowledged': { when: 'after', ...event('job.started') },
      'storing, not answered': { when: 'after', ...record('storing') },
      'before the upload is noted': { when: 'before', ...record('storing', '"uploaded":') },
      'uploaded, not verified': { when: 'after', ...record('storing', '"uploaded":') },
      'before it is completed': { when: 'before', ...record('completed') },
      'completed, no timer': { when: 'after', ...record('completed') },
      'timer set, no event': { when: 'after', subject: /^sched\.delete\./ },
      'event published, no posting': { when: 'after', ...event('job.completed') },
      'posted, not stopped': { when: 'after', subject: /^ledger\.job\./ },
      'completed, not acknowledged': { when: 'before', ...acknowledged('EVENTS.storage') },
    }
    for (const [name, cut] of Object.entries(lines))
      it(`${name}: the job is completed by its first attempt`, async () => {
        const { jobId } = await killAt('orchestrator', cut, () =>
          system.client.submit({ prompt: 'null:seconds=0.3' }),
        )
        await expectCompletedOnce(system, jobId, { attempt: 1 })
        await expectDeletionTimer(jobId)
      })

    async function expectDeletionTimer(jobId: string) {
      const broker = await system.broker()
      await until(async () => (await broker.count('SCHED', `sched.delete.${jobId}`)) === 1, {
        what: 'a deletion timer',
      })
    }
  })

  describe('worker', () => {
    const lines: Record<string, [attempt: number, cut: Cut]> = {
      'claimed, not started': [2, { when: 'before', ...event('render.started') }],
      'with a spooled file': [1, { when: 'before', subject: /^ctl\.request\.store\./ }],
      'after the upload': [1, { when: 'before', ...event('render.completed') }],
      'after the event': [1, { when: 'after', ...event('render.completed') }],
    }
    for (const [name, [attempt, cut]] of Object.entries(lines))
      it(`${name}: the job is completed by attempt ${attempt}`, async () => {
        const { jobId } = await killAt('sidecar', cut, () =>
          system.client.submit({ prompt: 'null:seconds=0.3' }),
        )
        await expectCompletedOnce(system, jobId, { attempt })
      })

    it('with an ask out: the job is completed, by attempt 2 at most', async () => {
      const cut: Cut = { when: 'after', subject: /^ctl\.request\.next\./ }
      const { jobId } = await killAt('sidecar', cut, () => system.client.submit())
      const { attempt } = await expectCompletedOnce(system, jobId)
      expect(attempt).toBeLessThanOrEqual(2)
    })

    it('mid-render: the job is completed by attempt 2', async () => {
      const { jobId } = await system.client.submit({ seconds: 12, prompt: 'null:seconds=4' })
      await system.client.untilView(jobId, ({ progress }) => progress > 20 && progress < 90)
      await system.kill('sidecar')
      await expectCompletedOnce(system, jobId, { attempt: 2 })
    })
  })

  describe('janitor', () => {
    const lines: Record<string, Cut> = {
      'media deleted, no event': { when: 'before', ...event('job.deleted') },
      'event published, not acknowledged': { when: 'before', ...acknowledged('SCHED.janitor') },
    }
    for (const [name, cut] of Object.entries(lines))
      it(`${name}: the deletion is recorded, once`, async () => {
        const jobId = await killAt('janitor', cut, async () => {
          const submitted = await system.client.submit({ prompt: 'null:seconds=60' })
          await system.client.untilView(submitted.jobId, (view) => view.stage === 'rendering')
          await system.client.cancel(submitted.jobId)
          return submitted.jobId
        })
        await system.client.untilView(jobId, (view) => view.deleted_at !== null)
        expect(await (await system.store()).keys(jobPrefix(jobId))).toEqual([])
        const facts = (await (await system.broker()).factsOf(jobId)).map(({ type }) => type)
        expect(facts.filter((type) => type === 'job.deleted')).toHaveLength(1)
        expect(facts.filter((type) => type === 'job.cancelled')).toHaveLength(1)
      })
  })
})
