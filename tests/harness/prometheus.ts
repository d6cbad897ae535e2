import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { until } from '@avatar/service-kit/testing'
import { z } from 'zod'
import { freePort } from './free-port.ts'

const tools = resolve(import.meta.dirname, '../../.tools/usr/bin')

/** Prometheus as `npm run setup -- --with monitoring` brings it, or as it is in PATH; undefined if there is none. */
export function findPrometheus(): string | undefined {
  const folders = [tools, ...(process.env['PATH'] ?? '').split(delimiter)]
  return folders.map((folder) => join(folder, 'prometheus')).find(isExecutable)
}

export type PrometheusOptions = {
  /** The `job` of each target, and its port. */
  targets: Readonly<Record<string, number>>
  /** Files of rules. */
  rules?: readonly string[]
}

const valueSchema = z.tuple([z.number(), z.string()])
const answerSchema = z.object({
  status: z.string(),
  error: z.string().optional(),
  data: z
    .object({
      result: z.array(
        z.object({ metric: z.record(z.string(), z.string()), value: valueSchema.optional() }),
      ),
    })
    .optional(),
})

export type Prometheus = Awaited<ReturnType<typeof startPrometheus>>

/** A real Prometheus that scrapes these targets every second. */
export async function startPrometheus({ targets, rules = [] }: PrometheusOptions) {
  const program = findPrometheus()
  if (!program) throw new Error('no Prometheus: npm run setup -- --with monitoring')
  const folder = await mkdtemp(join(tmpdir(), 'avatar-prometheus-'))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const config = {
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
    rule_files: rules,
    scrape_configs: Object.entries(targets).map(([job, target]) => ({
      job_name: job,
      // A target that stands in for others says itself for whom.
      honor_labels: true,
      static_configs: [{ targets: [`127.0.0.1:${target}`] }],
    })),
  }
  // YAML holds JSON.
  await writeFile(join(folder, 'prometheus.yml'), JSON.stringify(config))
  const child: ChildProcess = spawn(
    program,
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    // Debian’s build, as set-up unpacks it, looks for its pages below the folder it is started in.
    { cwd: resolve(program, '../..'), stdio: 'inherit' },
  )

  /** What a query answers now, or as it was at another time. @throws Error with Prometheus' own words */
  async function query(expression: string) {
    const body = new URLSearchParams({ query: expression })
    const answer = await fetch(`${url}/api/v1/query`, { method: 'POST', body })
    const { status, error, data } = answerSchema.parse(await answer.json())
    if (status !== 'success') throw new Error(`${expression}: ${error}`)
    return (data?.result ?? []).map(({ metric, value }) => ({
      labels: metric,
      value: Number(value?.[1]),
    }))
  }

  async function stop() {
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, 'exit')
      child.kill('SIGTERM')
      await gone
    }
    await rm(folder, { recursive: true, force: true })
  }

  try {
    const wanted = Object.keys(targets).length
    await until(async () => (await query('up == 1').catch(() => [])).length === wanted, {
      everyMs: 200,
      what: 'a first scrape of every target',
    })
  } catch (error) {
    await stop()
    throw error
  }
  return { url, query, stop }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
