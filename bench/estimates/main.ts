/**
 * Measures how far what a client is told when it submits is from what comes: the seconds of the render,
 * and the time until the job is done. The engine claims to be four times slower than it is, so what is
 * right was learned. The first jobs are told by the engine's claim, the next ones by what these taught,
 * and the last ones after a restart of the whole system.
 *
 *   npm run bench:estimates
 *   npm run bench:estimates -- --jobs 50 --taught 10 --workers 1
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { acceptedSchema, metricName } from '@avatar/contracts'
import { scrape, startSystem, until, voice } from '../../tests/harness/index.ts'
import { dataOf, renderOf, statusOf } from '../pipeline/measurements.ts'
import { createSender, multipart, type Sender } from '../pipeline/requests.ts'
import { markdownTable, quantile } from '../pipeline/statistics.ts'

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '50' },
    taught: { type: 'string', default: '10' },
    workers: { type: 'string', default: '1' },
  },
})
const secondsPerVideoSecond = 0.25
const env = {
  TIMINGS_DIVISOR: '1',
  LOG_LEVEL: 'warn',
  NULL_SECONDS_PER_VIDEO_SECOND: String(4 * secondsPerVideoSecond),
}
/** The null engine renders three seconds at once. */
const lengthsSeconds = [3, 12, 6, 9, 3, 6]

const portrait = await readFile(join(import.meta.dirname, '../../examples/portrait.jpg'))
const bodies = lengthsSeconds.map((seconds) =>
  multipart(portrait, voice({ seconds }), `null:seconds=${seconds * secondsPerVideoSecond}`),
)
type System = Awaited<ReturnType<typeof startSystem>>

const dataDir = await mkdtemp(join(tmpdir(), 'avatar-estimates-'))
const rows: string[][] = []
try {
  await inSystem(async (system, sender) => {
    await measure('told by what the engine claims', Number(values.taught), system, sender)
    await measure('told by what these taught', Number(values.jobs), system, sender)
    await reportMetric(system)
  })
  await inSystem((system, sender) =>
    measure('after a restart of everything', Number(values.jobs), system, sender),
  )
  const head = ['error of what was told first', 'median', '90 % under', 'of']
  process.stdout.write(markdownTable(head, rows))
} finally {
  await rm(dataDir, { recursive: true, force: true })
}

async function inSystem(work: (system: System, sender: Sender) => Promise<void>) {
  const system = await startSystem({ env, dataDir, replicas: `sidecar=${values.workers}` })
  const sender = createSender(system.url, { authorization: `Bearer ${await system.createKey()}` })
  try {
    const readyCount = async () =>
      (await system.client.health()).workers.filter(({ state }) => state === 'ready').length
    await until(async () => (await readyCount()) >= Number(values.workers), {
      timeoutMs: 60_000,
      what: 'the workers',
    })
    await work(system, sender)
  } finally {
    sender.stop()
    await (await system.broker()).close()
    await system.stop()
  }
}

/** Queues the jobs one after the other, faster than they are rendered, and compares once all are done. */
async function measure(what: string, count: number, system: System, sender: Sender) {
  const told: ReturnType<typeof acceptedSchema.parse>[] = []
  for (let at = 0; at < count; at++) {
    const answer = await sender.send('POST', '/generate', bodies[at % bodies.length])
    told.push(dataOf(answer.body, acceptedSchema))
  }
  const renderErrors: number[] = []
  const completionErrors: number[] = []
  for (const { job_id, estimated_seconds, estimated_completion_at } of told) {
    const view = await until(
      async () => {
        const seen = (await statusOf(sender, job_id)).view
        return seen.finished_at !== null && seen
      },
      { timeoutMs: 600_000, everyMs: 250, what: 'the end of a job' },
    )
    const { used, rendered } = await renderOf(system, job_id)
    renderErrors.push(errorOf(estimated_seconds, used?.gpuSeconds ?? rendered.renderSeconds))
    const since = (at: string | null) => Date.parse(at ?? '') - Date.parse(view.created_at)
    completionErrors.push(errorOf(since(estimated_completion_at), since(view.finished_at)))
  }
  report(`render, ${what}`, renderErrors)
  report(`completion, ${what}`, completionErrors)
}

/** What operators see of it: the bounds between which the median lies, of all jobs of this system. */
async function reportMetric(system: System) {
  const { series } = await scrape(system, 'orchestrator')
  const buckets = series.filter(
    ({ name, labels }) =>
      name === `${metricName('estimate_error_ratio')}_bucket` && labels['of'] === 'finish',
  )
  const count = buckets.at(-1)?.value
  if (!count) throw new Error('no estimate was measured')
  const at = buckets.findIndex(({ value }) => value >= count / 2)
  const [above, below] = [buckets[at - 1]?.labels['le'] ?? '0', buckets[at]?.labels['le'] ?? '?']
  rows.push(['completion, by the metric', `${above} to ${below}`, '', String(count)])
  process.stderr.write(`completion, by the metric: median between ${above} and ${below}\n`)
}

function errorOf(told: number, actual: number): number {
  return Math.abs(told - actual) / actual
}

function report(what: string, errors: readonly number[]) {
  const percent = (share: number) => `${(100 * quantile(errors, share)).toFixed(1)} %`
  rows.push([what, percent(0.5), percent(0.9), String(errors.length)])
  process.stderr.write(`${what}: median ${percent(0.5)}, 90 % under ${percent(0.9)}\n`)
}
