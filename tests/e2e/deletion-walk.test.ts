import { randomUUID } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { jobPrefix, type ServiceName } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Cut,
  deletionPoints,
  ingestPoints,
  janitorPoints,
  killAt,
  orchestratorPoints,
  patientOrchestrator,
  portrait,
  type System,
  startSystem,
  until,
  voice,
  workerPoints,
} from '../harness/index.ts'

type Told = { ok: boolean; leftovers: unknown[] }

/** Somebody's words, which no stream may repeat. */
const prompt = 'null:seconds=0.3'

/**
 * Kills each service between every two steps of a job's way, from the first byte of its upload to the record of
 * its deletion, and looks for what is left once the job's time is over.
 */
describe('what a kill leaves behind', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem({
      proxied: ['ingest', 'orchestrator', 'janitor', 'sidecar'],
      env: {
        ...patientOrchestrator,
        VIDEO_RETENTION_HOURS: String(1 / 3600),
        JANITOR_TIMINGS_DIVISOR: '1000', // A sweep every few seconds, for inputs without a job.
      },
    })
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  })

  const walked: string[] = []
  async function leavesNothing(jobId: string) {
    walked.push(jobId)
    await system.client.untilView(jobId, ({ deleted_at }) => deleted_at !== null)
    let told: Told | undefined
    await until(
      async () => {
        told = await verify(jobId)
        return told.ok
      },
      { what: `nothing of ${jobId}` },
    ).catch((error: unknown) => {
      throw new Error(JSON.stringify(told), { cause: error })
    })
    expect(told).toMatchObject({ leftovers: [] })
    expect(await (await system.store()).keys(jobPrefix(jobId))).toEqual([])
  }

  /** It ends with 1 when something stays. */
  async function verify(jobId: string): Promise<Told> {
    const run = await system
      .cli('verify-deletion', '--json', '--job', jobId)
      .catch((error: { stdout: string }) => error)
    return JSON.parse(run.stdout)
  }

  const spool = (...path: string[]) => join(system.dataDir, 'spool', ...path)
  const uploads = () => readdir(spool('ingest', 'uploads')).catch(() => [])

  it('of ingest, with half an upload in its spool', async () => {
    const upload = await beginUpload(await system.createKey('half'))
    await until(async () => {
      for (const folder of await uploads())
        for (const file of await readdir(spool('ingest', 'uploads', folder)))
          if ((await stat(spool('ingest', 'uploads', folder, file))).size > 0) return true
      return false
    })
    await system.kill('ingest')
    upload.destroy()
    await until(async () => (await uploads()).length === 0, { what: 'an empty spool' })
  })

  /** All of an upload but for its end. */
  async function beginUpload(key: string) {
    const form = new FormData()
    form.set('image', new Blob([new Uint8Array(portrait())]), 'image')
    form.set('audio', new Blob([new Uint8Array(voice({ seconds: 5 }))]), 'audio')
    const whole = new Response(form)
    const body = Buffer.from(await whole.arrayBuffer())
    const headers = {
      authorization: `Bearer ${key}`,
      'content-type': whole.headers.get('content-type') ?? '',
      'content-length': body.length,
    }
    const sent = request(`${system.url}/generate`, { method: 'POST', headers })
    sent.on('error', () => undefined) // It dies with its server.
    sent.write(body.subarray(0, -1_000))
    return sent
  }

  for (const [name, cut] of Object.entries(ingestPoints))
    it(`of ingest: ${name}`, async () => {
      const again = () => system.client.submitUntilAccepted({ idempotencyKey: name, prompt })
      await leavesNothing(await killAt(system, 'ingest', cut, again))
    })

  const killed: readonly [ServiceName, string, Cut][] = [
    ...Object.entries(orchestratorPoints).map(
      ([name, cut]) => ['orchestrator', name, cut] satisfies [ServiceName, string, Cut],
    ),
    ...Object.entries(workerPoints).map(
      ([name, { cut }]) => ['sidecar', name, cut] satisfies [ServiceName, string, Cut],
    ),
    ...Object.entries(janitorPoints).map(
      ([name, cut]) => ['janitor', name, cut] satisfies [ServiceName, string, Cut],
    ),
    ...Object.entries(deletionPoints).map(
      ([name, cut]) => ['orchestrator', name, cut] satisfies [ServiceName, string, Cut],
    ),
  ]
  for (const [service, name, cut] of killed)
    it(`of the ${service}: ${name}`, async () => {
      const submit = () => system.client.submitUntilAccepted({ idempotencyKey: name, prompt })
      const jobId = await killAt(system, service, cut, submit)
      await leavesNothing(jobId)
    })

  it.each(['sidecar', 'child'] as const)('of the %s, in the middle of a render', async (victim) => {
    const jobId = await system.client.submitUntilAccepted({
      ...{ seconds: 12, prompt: 'null:seconds=4', idempotencyKey: randomUUID() },
    })
    await system.client.untilView(jobId, ({ progress }) => progress > 20 && progress < 90)
    await system.kill(victim)
    await leavesNothing(jobId)
  })

  it('is nothing: neither in the bucket, nor in any spool, nor in the words of a stream', async () => {
    const store = await system.store()
    await until(async () => (await store.keys('')).length === 0, { what: 'an empty bucket' })
    for (const folder of [
      ['ingest', 'uploads'],
      ['sidecar', 'work'],
      ['sidecar', 'renders'],
    ])
      expect(await readdir(spool(...folder)), folder.join('/')).toEqual([])
    const broker = await system.broker()
    for (const stream of ['EVENTS', 'NOTIFY', 'LEDGER'])
      expect((await broker.textsOf(stream)).filter((text) => text.includes(prompt))).toEqual([])
    const whole = await system.cli('verify-deletion', '--json')
    expect(JSON.parse(whole.stdout)).toMatchObject({ ok: true, deleted: walked.length })
  })
})
