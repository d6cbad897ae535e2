/** What cannot be started in a test is read, and held against what it belongs to. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { services as ownServices } from '@avatar/contracts'
import { expect, it } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'

const here = import.meta.dirname
const text = (path: string) => readFileSync(join(here, path), 'utf8')
const yaml = (path: string): unknown => parse(text(path), { merge: true })

const program = z.object({
  image: z.string(),
  profiles: z.array(z.string()),
  command: z.array(z.string()).default([]),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  secrets: z.array(z.string()).default([]),
  environment: z.record(z.string(), z.string()).default({}),
})
const compose = z
  .object({
    services: z.record(z.string(), program),
    volumes: z.record(z.string(), z.unknown()),
    secrets: z.record(z.string(), z.object({ file: z.string() })),
  })
  .parse(yaml('compose.yml'))
const programs = Object.entries(compose.services)
const commandOf = (name: string) => compose.services[name]?.command.join(' ') ?? ''

it.each(programs)('%s runs in the profile alone, from an image that cannot change', (_, one) => {
  expect(one.profiles).toEqual(['observability'])
  expect(one.image).toMatch(/^[\w./-]+:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}$/)
})

it('Grafana alone can be reached from outside, and only from the machine itself', () => {
  const published = programs.filter(([, { ports }]) => ports.length > 0)
  expect(published.map(([name, { ports }]) => [name, ports])).toEqual([
    ['grafana', [expect.stringMatching(/^127\.0\.0\.1:.*:3000$/)]],
  ])
})

it('the log collector alone holds the Docker socket, and cannot replace it', () => {
  const withSocket = programs.filter(([, { volumes }]) =>
    volumes.some((volume) => volume.includes('docker.sock')),
  )
  expect(withSocket.map(([name]) => name)).toEqual(['alloy'])
  expect(compose.services['alloy']?.volumes).toContain(
    '/var/run/docker.sock:/var/run/docker.sock:ro',
  )
})

it('every folder, volume and secret that a program mounts is there', () => {
  for (const [name, { volumes, secrets }] of programs) {
    for (const secret of secrets) expect(compose.secrets, name).toHaveProperty([secret])
    for (const [source = '', , mode] of volumes.map((volume) => volume.split(':'))) {
      if (source.startsWith('/')) continue
      if (!source.startsWith('./')) expect(compose.volumes, name).toHaveProperty([source])
      else {
        expect(existsSync(join(here, source)), source).toBe(true)
        expect(mode, source).toBe('ro')
      }
    }
  }
  const used = programs.flatMap(([, { secrets }]) => secrets)
  expect(Object.keys(compose.secrets).toSorted()).toEqual(used.toSorted())
})

it('every file that a program is started with lies in a folder that it mounts', () => {
  for (const [name, { command, volumes }] of programs) {
    const mounts = volumes.map((volume) => volume.split(':'))
    for (const [file = ''] of command.map((word) => /\/etc\/\S+$/.exec(word) ?? []))
      if (file) {
        const mount = mounts.find(([, target = '']) => file.startsWith(`${target}/`))
        expect(mount, `${name}: ${file}`).toBeDefined()
        expect(existsSync(join(here, mount?.[0] ?? '', file.slice(mount?.[1]?.length)))).toBe(true)
      }
  }
})

it('Prometheus keeps 40 days and takes what Tempo writes', () => {
  expect(commandOf('prometheus')).toContain('--storage.tsdb.retention.time=40d')
  expect(commandOf('prometheus')).toContain('--web.enable-remote-write-receiver')
  expect(commandOf('prometheus')).toContain('--enable-feature=exemplar-storage')
})

it('Prometheus finds the rules beside its own folder', () => {
  const { rule_files } = z
    .object({ rule_files: z.array(z.string()) })
    .parse(yaml('prometheus/prometheus.yml'))
  expect(rule_files).toEqual(['../generated/*.rules.yml'])
  expect(compose.services['prometheus']?.volumes).toContain('./generated:/etc/generated:ro')
})

const datasource = z.object({
  uid: z.string(),
  type: z.string(),
  url: z.url(),
  jsonData: z.record(z.string(), z.unknown()),
})
const { datasources } = z
  .object({ datasources: z.array(datasource) })
  .parse(yaml('grafana/provisioning/datasources/avatar.yml'))
const jsonDataOf = (uid: string) => datasources.find((one) => one.uid === uid)?.jsonData

it('each datasource has its type as its uid, which the dashboards choose at first', () => {
  expect(datasources.map(({ uid }) => uid)).toEqual(['prometheus', 'tempo', 'loki'])
  for (const { uid, type, url } of datasources) {
    expect(type).toBe(uid)
    expect(compose.services).toHaveProperty([new URL(url).hostname])
  }
})

it('observations, traces and lines lead to each other', () => {
  const tempo = z
    .object({
      overrides: z.object({
        defaults: z.object({ metrics_generator: z.object({ trace_id_label_name: z.string() }) }),
      }),
      metrics_generator: z.object({
        processor: z.object({
          span_metrics: z.object({ histogram_buckets: z.array(z.number()) }),
        }),
        storage: z.object({
          remote_write: z.array(z.object({ url: z.url(), send_exemplars: z.boolean() })),
        }),
      }),
    })
    .parse(yaml('tempo/tempo.yml'))
  const label = tempo.overrides.defaults.metrics_generator.trace_id_label_name
  expect(
    tempo.metrics_generator.processor.span_metrics.histogram_buckets,
    'the bound of a generation is one of a histogram',
  ).toContain(180)
  expect(tempo.metrics_generator.storage.remote_write).toEqual([
    { url: 'http://prometheus:9090/api/v1/write', send_exemplars: true },
  ])
  expect(jsonDataOf('prometheus')).toMatchObject({
    exemplarTraceIdDestinations: [{ name: label, datasourceUid: 'tempo' }],
  })
  expect(jsonDataOf('loki')).toMatchObject({
    derivedFields: [{ matcherType: 'label', matcherRegex: 'traceId', datasourceUid: 'tempo' }],
  })
  expect(jsonDataOf('tempo')).toMatchObject({
    tracesToLogsV2: { datasourceUid: 'loki', customQuery: true },
  })
  expect(text('grafana/provisioning/datasources/avatar.yml')).toContain(
    `query: '{service=~".+"} | traceId="$\${__trace.traceId}"'`,
  )
})

it('lines are deleted after 14 days, and traces with them', () => {
  const loki = z
    .object({
      limits_config: z.object({
        retention_period: z.string(),
        allow_structured_metadata: z.literal(true),
      }),
      compactor: z.object({ retention_enabled: z.literal(true), delete_request_store: z.string() }),
      schema_config: z.object({ configs: z.array(z.object({ schema: z.literal('v13') })) }),
    })
    .parse(yaml('loki/loki.yml'))
  const tempo = z
    .object({
      compactor: z.object({ compaction: z.object({ block_retention: z.string() }) }),
      query_frontend: z.object({ search: z.object({ max_duration: z.string() }) }),
    })
    .parse(yaml('tempo/tempo.yml'))
  expect(loki.limits_config.retention_period).toBe(`${14 * 24}h`)
  expect(tempo.compactor.compaction.block_retention).toBe(loki.limits_config.retention_period)
  expect(tempo.query_frontend.search.max_duration, 'what is kept can be searched').toBe(
    loki.limits_config.retention_period,
  )
})

it('the collector takes the lines of every service of ours, and labels them by service and level alone', () => {
  const alloy = text('alloy/config.alloy')
  const own = Object.entries(ownServices).filter(([, { kind }]) => kind !== 'server')
  expect(alloy).toContain(`regex         = "${own.map(([name]) => name).join('|')}"`)
  expect(alloy).toContain('values = ["service", "level"]')
  expect(alloy).toContain('values = { jobId = "", traceId = "", workerId = "" }')
  expect(alloy.split('{')).toHaveLength(alloy.split('}').length)
})

it('Grafana reads the dashboards where they are mounted, and nobody changes them there', () => {
  const { providers } = z
    .object({
      providers: z.array(
        z.object({ allowUiUpdates: z.literal(false), options: z.object({ path: z.string() }) }),
      ),
    })
    .parse(yaml('grafana/provisioning/dashboards/avatar.yml'))
  const [provider] = providers
  expect(compose.services['grafana']?.volumes).toContain(
    `./generated/dashboards:${provider?.options.path}:ro`,
  )
})
