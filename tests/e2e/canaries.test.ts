import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  buckets,
  type LogLine,
  linesOfAJob,
  logLineSchema,
  monitoredServices,
  serviceNames,
  streams,
} from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  keepRawOutput,
  type OtlpReceiver,
  portrait,
  type RawOutput,
  runAgain,
  type System,
  startOtlpReceiver,
  startSystem,
  until,
} from '../harness/index.ts'

/** The part of `credentials.json` that is secret. */
const credentialsSchema = z.object({
  nats: z.record(z.string(), z.string()),
  s3: z.object({ secretAccessKey: z.string() }),
})

/** Whatever must never leave a process. */
const marks: string[] = []
/** What other processes wrote that the test started beside the system's own. */
const outputBeside: string[] = []

/** A secret that stands nowhere else. */
function mark(): string {
  const value = `Canary${randomBytes(9).toString('hex')}`
  marks.push(value)
  return value
}

/** A secret in each shape that secrets have. */
function samples(): string[] {
  const [awsEnd, seedEnd] = [upperCase(16), upperCase(54)]
  const basic = Buffer.from(`user:${mark()}`).toString('base64')
  marks.push(awsEnd, seedEnd, basic.slice(8))
  return [
    `Bearer ${mark()}`,
    `Basic ${basic}`,
    `x-api-key: ${mark()}`,
    `nats://user:${mark()}@host:4222`,
    `nats://user:with/${mark()}@host:4222`,
    `http://store/media/x?X-Amz-Credential=${mark()}&X-Amz-Signature=${mark()}`,
    `{"password":"${mark()}"}`,
    `{"client_secret": "${mark()}"}`,
    `{"token":"${mark()}","apiKey":"${mark()}"}`,
    `{ secret: '${mark()}' }`,
    `NATS_PASSWORD=${mark()} R2_SECRET_ACCESS_KEY="${mark()}"`,
    `AKIA${awsEnd}`,
    `hf_${mark()}`,
    `rpa_${mark()}`,
    `whsec_${mark()}`,
    `SUAM${seedEnd}`,
    `eyJ${mark()}.${mark()}.${mark()}`,
    `-----BEGIN PRIVATE KEY-----${mark()}-----END PRIVATE KEY-----`,
    `https://hooks.slack.com/services/T0/B0/${mark()}`,
    `https://discord.com/api/webhooks/1/${mark()}`,
    `ava_live_${mark()}`,
    `ava_evt_${mark()}`,
  ]
}

/** Letters and digits of Base32. */
function upperCase(length: number): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  return Array.from(randomBytes(length), (byte) => letters[byte % 32]).join('')
}

describe('what leaves the processes', () => {
  let system: System
  let output: RawOutput
  let collector: OtlpReceiver
  beforeAll(async () => {
    output = await keepRawOutput()
    collector = await startOtlpReceiver()
    system = await startSystem({
      hasStoreProxy: true,
      env: {
        ...output.env,
        TRUSTED_PROXIES: '127.0.0.1',
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
        OTEL_EXPORTER_OTLP_HEADERS: `x-token=${mark()}`,
        VIDEO_RETENTION_HOURS: String(1 / 3600),
      },
    })
    const stored = await readFile(join(system.dataDir, 'credentials.json'), 'utf8')
    const { nats, s3 } = credentialsSchema.parse(JSON.parse(stored))
    marks.push(...Object.values(nats), s3.secretAccessKey)
    await sendBadKeys()
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
    await output.remove()
    await collector.stop()
  })

  /** A request of a client that nobody has seen before, so that its failure has a line of its own. */
  let customers = 0
  async function call(path: string, init: RequestInit = {}): Promise<number> {
    const headers = new Headers(init.headers)
    customers++
    headers.set('x-forwarded-for', `10.0.${customers >> 8}.${customers & 255}`)
    const answer = await fetch(system.url + path, { ...init, headers })
    await answer.arrayBuffer()
    return answer.status
  }

  /** From one address. */
  const flood = 200
  async function sendBadKeys() {
    for (let n = 0; n < flood; n++) {
      const headers = {
        'x-forwarded-for': '192.0.2.7',
        authorization: `Bearer ava_live_${mark()}`,
      }
      const answer = await fetch(`${system.url}/jobs`, { headers })
      await answer.arrayBuffer()
      expect(answer.status).toBe(401)
    }
  }

  const linesWith = async (words: string) =>
    (await output.lines()).filter((line) => line.includes(words))

  /** Waits for what the processes write, all of which is read again at each look. */
  const untilSaid = <T>(
    look: () => Promise<T | undefined | false>,
    { timeoutMs = 20_000, what }: { timeoutMs?: number; what: string },
  ): Promise<T> => until(look, { timeoutMs, everyMs: 250, what })

  /** Has a process run a program, and waits for what it says. */
  async function fail(
    victim: 'ingest' | 'orchestrator' | 'janitor' | 'sidecar' | 'child',
    program: string,
    says: string,
  ) {
    const isPython = victim === 'sidecar' || victim === 'child'
    await output.failBy(isPython ? 'py' : 'js', program)
    const before = (await linesWith(says)).length
    const pid = await until(() => system.pidOf(victim), { what: `a ${victim}` })
    process.kill(pid, 'SIGUSR2')
    await untilSaid(async () => (await linesWith(says)).length > before, {
      what: `${victim} saying ${says}`,
    })
  }

  it('are 8 to 14 lines at info for a job, each once', async () => {
    const { jobId } = await system.client.submit()
    const view = await system.client.untilEnded(jobId, 'completed')
    const said = async () =>
      (await linesWith(view.trace_id ?? 'none'))
        .map((line) => logLineSchema.parse(JSON.parse(line)))
        .filter(({ level }) => level === 'info')
        .map(({ service, msg }) => `${service}: ${msg}`)
    const expected = linesOfAJob.map(([service, msg]) => `${service}: ${msg}`)
    await untilSaid(async () => (await said()).length >= expected.length, { what: 'the last line' })
    expect((await said()).toSorted()).toEqual(expected.toSorted())
    expect(expected.length).toBeGreaterThanOrEqual(8)
    expect(expected.length).toBeLessThanOrEqual(14)
  })

  it('holds no secret of a job or an event that fails', async () => {
    const prompt = `null:password=${mark()} null:token=${mark()}`
    const { jobId } = await system.client.submit({ prompt })
    const view = await system.client.untilEnded(jobId, 'failed')
    expect(view.error?.code).toBe('RENDER_FAILED')
    const broker = await system.broker()
    for (const sample of samples().slice(0, 6)) {
      const key = `elsewhere/${sample}`
      await broker.submitEvent('acme', { image_key: key, audio_key: key })
    }
    await untilSaid(async () => (await linesWith('message dead-lettered')).length >= 6, {
      what: 'dead letters',
    })
    const crashing = await system.client.submit({ prompt: 'null:crash null:seconds=0.2' })
    await system.client.untilView(crashing.jobId, ({ attempt }) => attempt > 1)
    await system.client.cancel(crashing.jobId)
  })

  it('is one line for a flood of bad keys, then one with their number', async () => {
    // Nobody else has sent a bad key so far.
    const lines = async () =>
      (await linesWith('"UNAUTHORIZED"')).map((line) => logLineSchema.parse(JSON.parse(line)))
    const counted = (told: LogLine[]) => told.reduce((sum, { count = 1 }) => sum + count, 0)
    const told = await untilSaid(
      async () => {
        const all = await lines()
        return counted(all) >= flood && all
      },
      { what: 'lines that count them all' },
    )
    expect(counted(told)).toBe(flood)
    // One at once, then one in six seconds, however slow the machine is.
    expect(told.length).toBeLessThanOrEqual(6)
    expect(await output.all()).not.toContain('192.0.2.7')
  })

  it('holds no secret that a client sends, wherever it stands', async () => {
    for (const sample of samples()) {
      const url = encodeURIComponent(sample)
      expect(await call('/jobs', { headers: { authorization: sample } })).toBe(401)
      expect(await call('/jobs', { headers: { 'x-api-key': sample, traceparent: sample } })).toBe(
        401,
      )
      expect(await call(`/nowhere/${url}?token=${url}`)).toBe(404)
      const form = new FormData()
      form.set('image', new Blob([new Uint8Array(portrait())]), `${mark()}.png`)
      form.set('priority', sample)
      form.set(sample, sample)
      const { status } = await system.client.send('/generate', {
        method: 'POST',
        body: form,
        headers: { 'x-forwarded-for': '10.9.9.9', 'idempotency-key': sample },
      })
      expect(status).toBe(400)
    }
  })

  it('holds no secret when the store or the broker is in trouble', async () => {
    system.proxies.toStore().misbehave({ kind: 'error', method: 'PUT' })
    expect((await system.client.submit()).status).toBe(503)
    system.proxies.toStore().heal()
    await system.kill('nats')
    await untilSaid(async () => (await linesWith('broker connection back')).length > 0, {
      what: 'the broker, back again',
    })
    const refused = await runAgain(system, 'janitor', { R2_SECRET_ACCESS_KEY: mark() }, (said) =>
      said.includes('background pass failed'),
    )
    outputBeside.push(refused.output)
    for (const service of ['orchestrator', 'sidecar'] as const) {
      const { output: said } = await runAgain(
        system,
        service,
        { NATS_PASSWORD: mark(), SPOOL_DIR: join(output.folder, service) },
        (text) => text.includes('\n'),
      )
      outputBeside.push(said)
    }
  })

  it('holds no secret when services refuse their configuration', async () => {
    const refusals = serviceNames.map((service) =>
      runAgain(system, service, {
        NATS_URL: `nats://user:${mark()}@host`,
        NATS_PASSWORD: mark(),
        LOG_LEVEL: mark(),
        TIMINGS_DIVISOR: mark(),
      }),
    )
    for (const { exitCode, output: said } of await Promise.all(refusals)) {
      expect(exitCode).toBe(2)
      expect(said).toContain('the configuration is not valid')
      outputBeside.push(said)
    }
  })

  it('holds no secret of an error that nobody catches, nor of a warning', async () => {
    const given = 'process.env.NATS_PASSWORD, process.env.R2_SECRET_ACCESS_KEY'
    for (const service of ['ingest', 'orchestrator', 'janitor'] as const) {
      const told = JSON.stringify(samples())
      const warn = `for (const told of [...${told}, ${given}]) process.emitWarning('told ' + told)
        process.emitWarning('end of warnings')`
      await fail(service, warn, 'end of warnings')
      const error = `new Error([...${told}, ${given}].join('\\n'), {
          cause: Object.assign(new Error('told ' + [${given}]), { headers: ${told} }),
        })`
      const isRejected = service === 'orchestrator'
      await fail(
        service,
        isRejected ? `void Promise.reject(${error})` : `throw ${error}`,
        'the process ends',
      )
    }
    const told = JSON.stringify(samples())
    const warn = `import warnings
for told in ${told}:
    warnings.warn("told " + told)
warnings.warn("told " + os.environ.get("NATS_PASSWORD", ""))
warnings.warn("end of warnings")`
    await fail('sidecar', warn, 'end of warnings')
    const raise = `raise ValueError("\\n".join([*${told}, os.environ.get("NATS_PASSWORD", "")]))`
    await fail('child', raise, 'the process ends')
    await fail('sidecar', raise, 'the process ends')
    const jobId = await system.client.submitUntilAccepted({ idempotencyKey: 'after all' })
    await system.client.untilEnded(jobId, 'completed')
  })

  it('holds none of them, after more than 25 failures, and each line is one of the schema', async () => {
    const lines = [...(await output.lines()), ...outputBeside.join('').split('\n').filter(Boolean)]
    const parsed = lines.map((line) => logLineSchema.parse(JSON.parse(line)))
    expect(parsed.filter(({ err, problems }) => err ?? problems).length).toBeGreaterThan(25)
    const told = [
      ...lines,
      await output.all(),
      ...system.lines,
      ...collector.bodies,
      ...(await metricsAndHealth()),
      ...(await stored()),
    ]
    // Spans of requests, of failed attempts and of the workers were among it.
    expect(collector.spans.filter(({ status }) => status.code !== 0).length).toBeGreaterThan(5)
    expect(new Set(collector.spans.map(({ service }) => service)).size).toBe(4)
    const text = told.join('\n')
    expect(marks.length).toBeGreaterThan(100)
    const found = marks.filter((each) => text.includes(each))
    const around = found.map((each) =>
      text.slice(Math.max(0, text.indexOf(each) - 60)).slice(0, 90),
    )
    expect(around).toEqual([])
  })

  async function metricsAndHealth(): Promise<string[]> {
    const { processes } = await system.stack()
    const pages = monitoredServices.flatMap((service) =>
      ['metrics', 'readyz', 'livez'].map(
        (page) => `http://127.0.0.1:${processes[service].ports['metrics']}/${page}`,
      ),
    )
    return Promise.all(
      [...pages, `${system.url}/health`].map(async (page) => (await fetch(page)).text()),
    )
  }

  /** Records, events and dead letters. What a caller sent stands where it was stored, and is not told on. */
  async function stored(): Promise<string[]> {
    const broker = await system.broker()
    const kept = [`KV_${buckets.job.name}`, streams.EVENTS.name, streams.DLQ.name]
    const texts = (await Promise.all(kept.map((stream) => broker.textsOf(stream))))
      .flat()
      .filter(Boolean)
      .map((text) => JSON.stringify({ ...JSON.parse(text), prompt: '', payload: '' }))
    expect(texts.length).toBeGreaterThan(10)
    return texts
  }
})
