import { randomUUID } from 'node:crypto'
import { jobPrefix } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Cut,
  expectCompletedOnce,
  ingestPoints,
  janitorPoints,
  killAt,
  orchestratorPoints,
  patientOrchestrator,
  type SubmitOptions,
  type System,
  startSystem,
  until,
  workerPoints,
} from '../harness/index.ts'

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

  /** A busy machine may answer 503 first, and have the job all the same. */
  const accepted = (options: SubmitOptions = {}) =>
    system.client.submitUntilAccepted({ ...options, idempotencyKey: randomUUID() })

  describe('ingest', () => {
    const submit = (key: string) => system.client.submit({ idempotencyKey: key }).catch(() => null)

    it('before the record: the client gets no answer, and the same request creates the job', async () => {
      const cut = ingestPoints['inputs stored, no record']
      expect(await killAt(system, 'ingest', cut, () => submit('before the record'))).toBeNull()
      const jobId = await system.client.submitUntilAccepted({ idempotencyKey: 'before the record' })
      await expectCompletedOnce(system, jobId, { attempt: 1 })
    })

    it('after the record: the job completes although its event was never published', async () => {
      const owner = system.clientWith(await system.createKey('after the record'))
      const cut = ingestPoints['record written, no event']
      const answer = await killAt(system, 'ingest', cut, () => owner.submit().catch(() => null))
      expect(answer).toBeNull()
      const jobs = await until(async () => (await owner.jobs().catch(() => undefined))?.jobs)
      expect(jobs).toHaveLength(1)
      await expectCompletedOnce(system, jobs[0]?.job_id ?? '', { attempt: 1, client: owner })
    })

    it('before the 201: a repeated request gets the same job', async () => {
      const cut = ingestPoints['event published, not answered']
      expect(await killAt(system, 'ingest', cut, () => submit('before the 201'))).toBeNull()
      const jobId = await system.client.submitUntilAccepted({ idempotencyKey: 'before the 201' })
      await expectCompletedOnce(system, jobId, { attempt: 1 })
    })
  })

  describe('orchestrator', () => {
    for (const [name, cut] of Object.entries(orchestratorPoints))
      it(`${name}: the job is completed by its first attempt`, async () => {
        const jobId = await killAt(system, 'orchestrator', cut, () =>
          accepted({ prompt: 'null:seconds=0.3' }),
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
    for (const [name, { attempt, cut }] of Object.entries(workerPoints))
      it(`${name}: the job is completed by attempt ${attempt}`, async () => {
        const jobId = await killAt(system, 'sidecar', cut, () =>
          accepted({ prompt: 'null:seconds=0.3' }),
        )
        await expectCompletedOnce(system, jobId, { attempt })
      })

    it('with an ask out: the job is completed, by attempt 2 at most', async () => {
      const cut: Cut = { when: 'after', subject: /^ctl\.request\.next\./ }
      const jobId = await killAt(system, 'sidecar', cut, accepted)
      const { attempt } = await expectCompletedOnce(system, jobId)
      expect(attempt).toBeLessThanOrEqual(2)
    })

    it('mid-render: the job is completed by attempt 2', async () => {
      const jobId = await accepted({ seconds: 12, prompt: 'null:seconds=4' })
      await system.client.untilView(jobId, ({ progress }) => progress > 20 && progress < 90)
      await system.kill('sidecar')
      await expectCompletedOnce(system, jobId, { attempt: 2 })
    })
  })

  describe('janitor', () => {
    for (const [name, cut] of Object.entries(janitorPoints))
      it(`${name}: the deletion is recorded, once`, async () => {
        const jobId = await killAt(system, 'janitor', cut, async () => {
          const submitted = await accepted({ prompt: 'null:seconds=60' })
          await system.client.untilView(submitted, (view) => view.stage === 'rendering')
          await system.client.cancel(submitted)
          return submitted
        })
        await system.client.untilView(jobId, (view) => view.deleted_at !== null)
        expect(await (await system.store()).keys(jobPrefix(jobId))).toEqual([])
        const facts = (await (await system.broker()).factsOf(jobId)).map(({ type }) => type)
        expect(facts.filter((type) => type === 'job.deleted')).toHaveLength(1)
        expect(facts.filter((type) => type === 'job.cancelled')).toHaveLength(1)
      })
  })
})
