import { specOf } from '@avatar/contracts'
import { type DataFolder, writePrivately } from './data-folder.ts'
import type { Instance } from './instances.ts'
import { type Ports, portsOf } from './ports.ts'

/** A group of targets in a file that Prometheus watches (`file_sd_configs`). */
export type ScrapeTarget = { targets: [string]; labels: { job: string; instance: string } }

/**
 * What there is to scrape: `/metrics` of each process that has one, replicas too, and `/health`, to be
 * probed. The labels are those that the alerts know.
 */
export function scrapeTargetsOf(
  instances: readonly Instance[],
  portsOfInstance: (label: string) => Ports,
): ScrapeTarget[] {
  const targets = instances.flatMap(({ name, label }): ScrapeTarget[] => {
    if (!('metrics' in specOf(name).ports)) return []
    const { metrics } = { metrics: 0, ...portsOf(name, portsOfInstance(label)) }
    return [{ targets: [`127.0.0.1:${metrics}`], labels: { job: name, instance: label } }]
  })
  const { http } = portsOfInstance('ingest')
  const health = `127.0.0.1:${http}/health`
  return [...targets, { targets: [health], labels: { job: 'probe', instance: 'api' } }]
}

/**
 * Writes them into the data folder. The file stays when the system stops: whoever watches it is then
 * told that the system is gone.
 */
export async function writeScrapeTargets(data: DataFolder, targets: readonly ScrapeTarget[]) {
  await writePrivately(data.scrapeTargets, `${JSON.stringify(targets, null, 2)}\n`)
}
