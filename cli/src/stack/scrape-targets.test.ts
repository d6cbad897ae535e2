import { expect, it } from 'vitest'
import { instancesOf } from './instances.ts'
import type { Ports } from './ports.ts'
import { scrapeTargetsOf } from './scrape-targets.ts'

it('names each process that serves /metrics, replicas too, and what to probe', () => {
  const instances = instancesOf({ ingest: 2 })
  const ports = (label: string) =>
    ({
      http: label === 'ingest' ? 80 : 81,
      ingestMetrics: label === 'ingest' ? 1 : 2,
      orchestratorMetrics: 3,
      janitorMetrics: 4,
    }) as Ports // The others are nobody's business here.
  expect(scrapeTargetsOf(instances, ports)).toEqual([
    { targets: ['127.0.0.1:1'], labels: { job: 'ingest', instance: 'ingest' } },
    { targets: ['127.0.0.1:2'], labels: { job: 'ingest', instance: 'ingest-2' } },
    { targets: ['127.0.0.1:3'], labels: { job: 'orchestrator', instance: 'orchestrator' } },
    { targets: ['127.0.0.1:4'], labels: { job: 'janitor', instance: 'janitor' } },
    { targets: ['127.0.0.1:80/health'], labels: { job: 'probe', instance: 'api' } },
  ])
})
