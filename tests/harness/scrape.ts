import type { MeasuredService } from '@avatar/contracts'
import { z } from 'zod'
import type { System } from './system.ts'

/** One sample of a scrape. */
export type Series = { name: string; labels: Readonly<Record<string, string>>; value: number }

const samplePattern = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/
const labelPattern = /([a-z_]+)="((?:[^"\\]|\\.)*)"/g

/** Where a service tells its metrics. */
export async function metricsUrl(
  system: Pick<System, 'stack'>,
  service: MeasuredService,
): Promise<string> {
  const { processes } = await system.stack()
  return `http://127.0.0.1:${processes[service].ports['metrics']}/metrics`
}

/** What a service tells now, and the text in which it does. */
export async function scrape(
  system: Pick<System, 'stack'>,
  service: MeasuredService,
): Promise<{ text: string; series: Series[] }> {
  const url = await metricsUrl(system, service)
  const text = z.string().parse(await (await fetch(url)).text())
  const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  const series = samples.map((line): Series => {
    const [, name, labels = '', value] = samplePattern.exec(line) ?? []
    if (name === undefined) throw new Error(`not a sample: ${line}`)
    const pairs = [...labels.matchAll(labelPattern)].map(([, label, text]) => [label, text])
    return { name, labels: Object.fromEntries(pairs), value: Number(value) }
  })
  return { text, series }
}
