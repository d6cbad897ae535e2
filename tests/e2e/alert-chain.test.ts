import { globSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  askPrometheus,
  hasMonitoring,
  type System,
  startAlertWebhook,
  startSystem,
  suspend,
  until,
} from '../harness/index.ts'

const retentionSeconds = 6
const generated = resolve(import.meta.dirname, '../../deploy/observability/generated')
const selectorsSchema = z.array(z.object({ selector: z.string(), onlyWith: z.string().optional() }))

const silencedSchema = z.array(
  z.object({
    labels: z.object({ alertname: z.string() }),
    status: z.object({ inhibitedBy: z.array(z.string()) }),
  }),
)

/** Every rule that Prometheus reads, by its expression. */
function rules(): string[] {
  const files = globSync('*.rules.yml', { cwd: generated })
  const texts = files.map((file) => readFileSync(resolve(generated, file), 'utf8'))
  return texts.flatMap((text) => text.match(/"expr": /g) ?? [])
}

/** The waits are ten times shorter, so scrapes come every 1.5 s and ApiDown holds 6 s before it is told. */
const soonMs = 60_000
/** Nothing new comes sooner than a scrape. */
const lookEveryMs = 500

// npm run setup -- --with monitoring brings the programs; in CI their absence is a failure.
describe.skipIf(!hasMonitoring && !process.env['CI'])('alerts of a real system', () => {
  let webhook: Awaited<ReturnType<typeof startAlertWebhook>>
  let system: System
  let prometheus: string
  beforeAll(async () => {
    webhook = await startAlertWebhook()
    system = await startSystem({
      isObserved: true,
      env: {
        OBSERVE_WEBHOOK_URL: webhook.url,
        VIDEO_RETENTION_HOURS: String(retentionSeconds / 3600),
      },
    })
    prometheus = (await system.stack()).observers['prometheus'] ?? ''
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
    webhook.stop()
  })

  const has = (expression: string) => askPrometheus(prometheus, expression).catch(() => 0)

  it('of a system in order only the watchdog is told, to the dead man’s switch', async () => {
    const { receiver } = await webhook.heard('Watchdog', 'firing', { timeoutMs: soonMs })
    expect(receiver).toBe('deadman')
    expect(await has('ALERTS{alertname="Watchdog",alertstate="firing"}')).toBe(1)
    expect(await has('ALERTS{alertname!="Watchdog",alertstate="firing"}')).toBe(0)
  })

  it('a job that fails by our fault, the first of its kind, becomes a ticket', async () => {
    // Prometheus must have seen the 0 before.
    const zero = 'infinitetalk_jobs_finished_total{code="GPU_OUT_OF_MEMORY",door="rest"} == 0'
    await until(() => has(zero), {
      timeoutMs: soonMs,
      everyMs: lookEveryMs,
      what: 'a first scrape',
    })
    const { jobId } = await system.client.submit({ prompt: 'null:oom-always' })
    await system.client.untilEnded(jobId, 'failed')
    const told = await webhook.heard('JobFailed', 'firing', { timeoutMs: soonMs })
    expect(told).toMatchObject({
      receiver: 'tickets',
      labels: { code: 'GPU_OUT_OF_MEMORY', severity: 'ticket' },
    })
  })

  it('an API that hangs is paged, and resolved once it answers again', async () => {
    const before = webhook.count()
    await suspend([await system.pidOf('ingest')], async () => {
      const told = await webhook.heard('ApiDown', 'firing', { since: before, timeoutMs: soonMs })
      expect(told).toMatchObject({ receiver: 'pager', labels: { severity: 'page' } })
    })
    const over = await webhook.heard('ApiDown', 'resolved', { since: before, timeoutMs: soonMs })
    expect(over.receiver).toBe('pager')
  })

  it('no rule is in error, and a series fits every selector once jobs completed, failed and were deleted', async () => {
    const completed = await system.client.submit()
    await system.client.untilEnded(completed.jobId, 'completed')
    await suspend([await system.pidOf('s3')], async () => {
      await until(async () => (await fetch(`${system.url}/health`)).status === 503, {
        everyMs: 250,
      })
    })
    await system.client.untilView(completed.jobId, ({ deleted_at }) => deleted_at !== null)
    const selectors = selectorsSchema
      .parse(JSON.parse(readFileSync(resolve(generated, 'selectors.json'), 'utf8')))
      .filter(({ onlyWith }) => onlyWith === undefined)
    expect(selectors.length).toBeGreaterThan(40)
    for (const { selector } of selectors)
      await until(() => has(`count(${selector})`), {
        timeoutMs: soonMs,
        everyMs: lookEveryMs,
        what: selector,
      })
    const answer = await fetch(`${prometheus}/api/v1/rules`)
    const text = await answer.text()
    expect(text.match(/"health":"\w+"/g)?.length).toBe(rules().length)
    expect(text).not.toMatch(/"health":"(err|unknown)"/)
  })

  it('what follows from another alert is silenced, and neither its cause nor anything else', async () => {
    const alertmanager = (await system.stack()).observers['alertmanager'] ?? ''
    const posted = [
      'BrokerAway',
      'QueueNotServed',
      'DailyCostHigh',
      'DailyCostSpike',
      'DeadLetters',
    ]
    const body = posted.map((alertname) => ({ labels: { alertname, severity: 'ticket' } }))
    await fetch(`${alertmanager}/api/v2/alerts`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    const silenced = async () => {
      const answer = await fetch(`${alertmanager}/api/v2/alerts?active=false&inhibited=true`)
      const alerts = silencedSchema.parse(await answer.json())
      return (
        alerts
          .filter(({ status }) => status.inhibitedBy.length > 0)
          .map(({ labels }) => labels.alertname)
          // The job that failed above is silenced too.
          .filter((name) => posted.includes(name))
      )
    }
    await until(async () => (await silenced()).length === 2, {
      timeoutMs: soonMs,
      everyMs: lookEveryMs,
    })
    expect((await silenced()).toSorted()).toEqual(['DailyCostSpike', 'QueueNotServed'])
  })
})
