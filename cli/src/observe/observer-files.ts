import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { type DataFolder, writePrivately } from '../stack/data-folder.ts'
import { repositoryRoot } from '../stack/installation.ts'
import type { ObserverName } from './observers.ts'

const deployed = join(repositoryRoot, 'deploy/observability')
const scrapeEveryMs = 15_000
/** A scrape that may take no longer than this fails on a busy machine. */
const shortestScrapeMs = 1_000

export type ObserverSettings = {
  ports: Readonly<Record<ObserverName, number>>
  /** How many times shorter its waits are, for tests: between scrapes, and before an alert is told. */
  divisor: number
  /** Where Alertmanager posts every alert; without it, it only shows them. */
  webhookUrl: string | undefined
}

/** The configuration of the observers in the data folder, by what reads it. */
export type ObserverFiles = Readonly<Record<ObserverName, string>>

/**
 * Writes the files that the observers read: those of `deploy/observability` with the addresses of this
 * machine, and receivers that need no secret.
 */
export async function writeObserverFiles(
  data: DataFolder,
  settings: ObserverSettings,
): Promise<ObserverFiles> {
  const rules = join(data.observe, 'rules')
  await mkdir(rules, { recursive: true, mode: 0o700 })
  const files: ObserverFiles = {
    prometheus: join(data.observe, 'prometheus.yml'),
    alertmanager: join(data.observe, 'alertmanager.yml'),
    blackbox: join(deployed, 'blackbox/blackbox.yml'),
  }
  for (const [name, text] of await rulesIn(join(deployed, 'generated'), settings.divisor))
    await writePrivately(join(rules, name), text)
  const prometheus = await readFile(join(deployed, 'prometheus/prometheus.yml'), 'utf8')
  const targets = data.scrapeTargets
  await writePrivately(files.prometheus, prometheusConfig(prometheus, settings, { rules, targets }))
  const alertmanager = await readFile(join(deployed, 'alertmanager/alertmanager.yml'), 'utf8')
  await writePrivately(files.alertmanager, alertmanagerConfig(alertmanager, settings))
  return files
}

/** Prometheus' configuration for this machine. @throws Error when the deployed one lacks a place */
export function prometheusConfig(
  deployed: string,
  { ports, divisor }: ObserverSettings,
  paths: { rules: string; targets: string },
): string {
  const every = `${Math.max(shortestScrapeMs, scrapeEveryMs / divisor)}ms`
  const changes = [
    ['scrape_interval: 15s', `scrape_interval: ${every}`],
    ['evaluation_interval: 15s', `evaluation_interval: ${every}`],
    ['../generated/*.rules.yml', JSON.stringify(join(paths.rules, '*.rules.yml'))],
    ['targets/*.json', JSON.stringify(paths.targets)],
    ['alertmanager:9093', `127.0.0.1:${ports.alertmanager}`],
    ['blackbox:9115', `127.0.0.1:${ports.blackbox}`],
  ] as const
  return changes.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`prometheus.yml has no "${from}"`)
    return text.replace(from, () => to)
  }, deployed)
}

/** The routes of the deployed configuration, to receivers of the same names that need no secret. */
export function alertmanagerConfig(
  deployed: string,
  { divisor, webhookUrl }: ObserverSettings,
): string {
  const [routes = '', receivers] = deployed.split(/^receivers:$/m)
  const names = [...(receivers ?? '').matchAll(/^ {2}- name: (\w+)$/gm)].map(([, name]) => name)
  if (names.length === 0) throw new Error('alertmanager.yml has no receivers')
  const to = webhookUrl ? { webhook_configs: [{ url: webhookUrl }] } : {}
  const waits = routes.replaceAll(
    /(?<=_(?:wait|interval): )\w+/g,
    (wait) => shorter(wait, divisor) ?? wait,
  )
  return `${waits}receivers: ${JSON.stringify(names.map((name) => ({ name, ...to })))}\n`
}

const rulesSchema = z.object({
  groups: z.array(z.looseObject({ rules: z.array(z.looseObject({ for: z.string().optional() })) })),
})

async function rulesIn(folder: string, divisor: number): Promise<[name: string, text: string][]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.rules.yml'))
  return Promise.all(
    names.map(async (name) => {
      const { groups } = rulesSchema.parse(JSON.parse(await readFile(join(folder, name), 'utf8')))
      for (const rule of groups.flatMap(({ rules }) => rules))
        if (rule.for) rule.for = shorter(rule.for, divisor) ?? rule.for
      return [name, JSON.stringify({ groups })] satisfies [string, string]
    }),
  )
}

const milliseconds: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 }

/** `1m` by 10 is `6000ms`; undefined for what stays as it is. */
function shorter(duration: string, divisor: number): string | undefined {
  const [, count, unit = ''] = /^(\d+)([smh])$/.exec(duration) ?? []
  const wholeMs = Number(count) * (milliseconds[unit] ?? 0)
  return divisor === 1 || !wholeMs ? undefined : `${Math.max(1, Math.round(wholeMs / divisor))}ms`
}
