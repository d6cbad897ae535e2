import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { monitoredServices } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { runTool, skipsWithout } from '../testing/python-tools.ts'
import { jobsToStart, scaledJobSchema } from './testing/keda.ts'
import { type Manifest, type Overlay, overlays, podsOf, render } from './testing/manifests.ts'

const root = resolve(import.meta.dirname, '../..')
const ours = /^avatar-(api|sidecar)(:|$)/
/** Read by the command line alone. */
const ofTheCommandLine = ['AVATAR_URL', 'STREAM_REPLICAS']

describe.skipIf(skipsWithout('kubectl'))('the overlays', () => {
  let folder: string
  const rendered = new Map<Overlay, { yaml: string; manifests: Manifest[] }>()
  const of = (overlay: Overlay) => rendered.get(overlay)?.manifests ?? []

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'avatar-k8s-'))
    for (const overlay of overlays) rendered.set(overlay, await render(overlay))
  }, 60_000)
  afterAll(() => rm(folder, { recursive: true, force: true }))

  /** Kubernetes' own schemas, and no field beside theirs. */
  async function validate(name: string, yaml: string) {
    const file = join(folder, `${name}.yaml`)
    await writeFile(file, yaml)
    return runTool('kubernetes-validate', ['--strict', file])
  }

  it('are what Kubernetes accepts, and no word more', async () => {
    // KEDA's kind is unknown to it; its Job is not.
    const known = overlays.flatMap(of).map((manifest) =>
      manifest.kind === 'ScaledJob'
        ? {
            apiVersion: 'batch/v1',
            kind: 'Job',
            metadata: manifest.metadata,
            spec: manifest.spec.jobTargetRef,
          }
        : manifest,
    )
    // What the overlays share is looked at once: each takes its time.
    const distinct = [...new Set(known.map((each) => stringify(each)))]
    expect(distinct.length).toBeGreaterThan(30)
    const opinion = await validate('all', distinct.join('---\n'))
    expect(opinion.output).not.toMatch(/WARN|ERROR/)
    expect(opinion.output.match(/passed for resource/g)).toHaveLength(distinct.length)
    expect(opinion.isContent).toBe(true)
  }, 180_000)

  it('would not pass with a misspelt field', async () => {
    const [deployment] = of('preview').filter(({ kind }) => kind === 'Deployment')
    const misspelt = { ...deployment, spec: { ...deployment?.spec, replica: 2 } }
    const opinion = await validate('misspelt', stringify(misspelt))
    expect(opinion.isContent).toBe(false)
    expect(opinion.output).toContain('replica')
  }, 60_000)

  it.each(overlays)('%s confines every pod', (overlay) => {
    const pods = podsOf(of(overlay))
    expect(pods.length).toBeGreaterThanOrEqual(6)
    for (const [who, { spec }] of pods) {
      expect(spec, who).toMatchObject({
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        securityContext: {
          runAsNonRoot: true,
          runAsUser: 10_001,
          seccompProfile: { type: 'RuntimeDefault' },
        },
      })
      for (const field of ['hostNetwork', 'hostPID', 'hostIPC', 'initContainers'])
        expect(spec, who).not.toHaveProperty(field)
      // The confinement is patched into the first container.
      expect(spec.containers, who).toHaveLength(1)
      const [container] = spec.containers
      expect(container?.securityContext, who).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      })
      expect(container?.resources.limits, who).toHaveProperty('memory')
      expect(container?.resources.requests, who).toHaveProperty('cpu')
    }
  })

  it.each(overlays)('%s tells our containers only what they know', async (overlay) => {
    const settings = new Set(
      [
        ...(await readFile(join(root, '.env.example'), 'utf8')).matchAll(
          /^(?:# )?([A-Z][A-Z0-9_]+)=/gm,
        ),
      ].map(([, name]) => name),
    )
    const maps = new Map(
      of(overlay)
        .filter(({ kind }) => kind === 'ConfigMap')
        .map(({ metadata, data = {} }) => [metadata.name, data]),
    )
    for (const [who, { spec }] of podsOf(of(overlay)))
      for (const { image, env = [], envFrom = [] } of spec.containers) {
        if (!ours.test(image)) continue
        const names = [
          ...env.map(({ name }) => name),
          ...envFrom.flatMap(({ configMapRef }) => Object.keys(maps.get(configMapRef.name) ?? {})),
        ]
        expect(names, who).toContain('NATS_URL')
        const unknown = names.filter(
          (name) => !settings.has(name.replace(/_FILE$/, '')) && !ofTheCommandLine.includes(name),
        )
        expect(unknown, who).toEqual([])
        expect(names, who).not.toContain('NATS_PASSWORD')
      }
  })

  it.each(overlays)('%s asks our containers by the doors that they have', (overlay) => {
    const isMonitored = (name: string) => monitoredServices.some((service) => service === name)
    for (const [who, { spec }] of podsOf(of(overlay)))
      for (const { name, image, ...its } of spec.containers) {
        if (isMonitored(name)) {
          expect(its, who).toMatchObject({
            readinessProbe: { httpGet: { path: '/readyz', port: 'metrics' } },
            livenessProbe: { httpGet: { path: '/livez', port: 'metrics' } },
          })
        } else if (image.startsWith('avatar-sidecar')) {
          const health = ['python', '-m', 'inference_sidecar.health']
          expect(its, who).toMatchObject({
            readinessProbe: { exec: { command: health } },
            livenessProbe: { exec: { command: [...health, '--live'] } },
          })
        }
      }
  })

  it.each(overlays)('%s takes its secrets from what `avatar system init` makes', (overlay) => {
    const made = ['nats', 's3', 'operator', ...monitoredServices, 'sidecar', 'pool-k8s']
    const broughtAlong = ['store', 'runpod']
    const named = podsOf(of(overlay)).flatMap(([, { spec }]) =>
      spec.volumes.flatMap(({ secret }) => (secret ? [secret.secretName] : [])),
    )
    const known = [...made, ...broughtAlong].map((each) => `avatar-${each}`)
    for (const name of named) expect(known).toContain(name)
    expect(rendered.get(overlay)?.yaml).not.toMatch(/kind: Secret/)
  })

  it.each(overlays)('%s lets nothing in or out by default', (overlay) => {
    const policies = of(overlay).filter(({ kind }) => kind === 'NetworkPolicy')
    const all = policies.find(({ metadata }) => metadata.name === 'default-deny')
    expect(all?.spec).toEqual({ podSelector: {}, policyTypes: ['Ingress', 'Egress'] })
    // No policy but the store's and the provider's leaves the cluster.
    const leaving = policies
      .filter(({ spec }) => JSON.stringify(spec.egress ?? []).includes('ipBlock'))
      .map(({ metadata }) => metadata.name)
    expect(leaving).toEqual(
      { preview: [], keda: ['to-store'], runpod: ['to-provider', 'to-store'] }[overlay],
    )
  })

  it('keeps three brokers and their streams apart, and one orchestrator', () => {
    const byName = (overlay: Overlay, kind: string, name: string) =>
      of(overlay).find((each) => each.kind === kind && each.metadata.name === name)?.spec
    const nats = byName('keda', 'StatefulSet', 'nats')
    expect(nats).toMatchObject({ replicas: 3, serviceName: 'nats-routes' })
    expect(nats.template.spec.affinity.podAntiAffinity).toHaveProperty(
      'requiredDuringSchedulingIgnoredDuringExecution',
    )
    // The lame duck goes for 30 s and the grace period of its clients.
    expect(nats.template.spec.terminationGracePeriodSeconds).toBe(90)
    expect(nats.template.spec.containers[0].lifecycle.preStop.exec.command).toContain(
      'ldm=/tmp/nats.pid',
    )
    expect(byName('keda', 'PodDisruptionBudget', 'nats').maxUnavailable).toBe(1)
    for (const name of ['orchestrator', 'janitor'])
      expect(byName('keda', 'Deployment', name)).toMatchObject({
        replicas: 1,
        strategy: { type: 'Recreate' },
      })
    expect(byName('keda', 'Deployment', 'ingest')).toMatchObject({
      replicas: 2,
      strategy: { rollingUpdate: { maxUnavailable: 0 } },
    })
    for (const overlay of overlays)
      for (const [, { spec }] of podsOf(of(overlay)))
        for (const { env = [] } of spec.containers)
          for (const { name, value } of env) if (name === 'STREAM_REPLICAS') expect(value).toBe('3')
  })

  describe('with KEDA', () => {
    const scaledJob = () =>
      scaledJobSchema.parse(of('keda').find(({ kind }) => kind === 'ScaledJob'))

    it('has no field that KEDA does not know', () => {
      const { spec } = scaledJob()
      expect(spec.jobTargetRef).toMatchObject({ backoffLimit: 0 })
      const misspelt = { ...scaledJob(), spec: { ...spec, maxReplicas: 5 } }
      expect(scaledJobSchema.safeParse(misspelt).success).toBe(false)
    })

    it('reads the number of the pool that its workers are in, where the orchestrator serves it', () => {
      const [trigger] = scaledJob().spec.triggers
      const [, worker] = podsOf(of('keda')).find(([who]) => who === 'ScaledJob/worker') ?? []
      const pool = worker?.spec.containers[0]?.env?.find(({ name }) => name === 'WORKER_POOL')
      expect(trigger?.metadata).toMatchObject({
        format: 'prometheus',
        valueLocation: `infinitetalk_workers_wanted{pool="${pool?.value}"}`,
      })
      const { hostname, port, pathname } = new URL(trigger?.metadata.url ?? '')
      const service = of('keda').find(
        ({ kind, metadata }) =>
          kind === 'Service' && `${metadata.name}.${metadata.namespace}.svc` === hostname,
      )
      expect(service?.spec.ports.map((each: { port: number }) => String(each.port))).toContain(port)
      expect(pathname).toBe('/metrics')
      const letIn = of('keda').find(({ metadata }) => metadata.name === 'keda')?.spec
      expect(letIn.ingress[0].ports).toEqual([{ protocol: 'TCP', port: Number(port) }])
    })

    // The gauge is the larger of the wanted and the busy, so KEDA never counts a busy worker against a new one.
    it.each([
      { why: 'no jobs', wanted: 0, busy: 0, running: 0, starts: 0 },
      { why: 'a first job', wanted: 1, busy: 0, running: 0, starts: 1 },
      { why: 'its worker waits for a node', wanted: 1, busy: 0, running: 1, starts: 0 },
      { why: 'its worker loads', wanted: 1, busy: 0, running: 1, starts: 0 },
      { why: 'its worker renders', wanted: 0, busy: 1, running: 1, starts: 0 },
      { why: 'its worker idles before it leaves', wanted: 0, busy: 0, running: 1, starts: 0 },
      { why: 'a second job while one idles', wanted: 1, busy: 0, running: 1, starts: 0 },
      { why: 'much work at once', wanted: 3, busy: 0, running: 0, starts: 3 },
      { why: 'much work beside a busy worker', wanted: 3, busy: 1, running: 1, starts: 2 },
      { why: 'more than the maximum', wanted: 9, busy: 0, running: 0, starts: 5 },
      { why: 'more than the maximum, some there', wanted: 9, busy: 2, running: 2, starts: 3 },
      { why: 'the maximum is there', wanted: 9, busy: 5, running: 5, starts: 0 },
      { why: 'less wanted than there are', wanted: 2, busy: 2, running: 4, starts: 0 },
      { why: 'more busy than wanted', wanted: 1, busy: 3, running: 3, starts: 0 },
      { why: 'a worker has just died', wanted: 3, busy: 2, running: 2, starts: 1 },
      { why: 'all have left and work has come', wanted: 2, busy: 0, running: 0, starts: 2 },
      { why: 'over the budget, two still render', wanted: 0, busy: 2, running: 2, starts: 0 },
      { why: 'over the budget, none left', wanted: 0, busy: 0, running: 0, starts: 0 },
      { why: 'the orchestrator is away', wanted: undefined, busy: 0, running: 0, starts: 0 },
      { why: 'it is away while two render', wanted: undefined, busy: 2, running: 2, starts: 0 },
    ])('starts $starts when: $why', ({ wanted, busy, running, starts }) => {
      const { maxReplicaCount, triggers } = scaledJob().spec
      const targetValue = Number(triggers[0]?.metadata.targetValue)
      const gauge = wanted === undefined ? undefined : Math.max(wanted, busy)
      const started = jobsToStart(gauge, running, { targetValue, maxReplicaCount })
      expect(started).toBe(starts)
      expect(running + started).toBeLessThanOrEqual(maxReplicaCount)
    })
  })
})

describe.skipIf(skipsWithout('kubectl'))('docs/kubernetes.md', () => {
  it('names only what the overlay that it applies has', async () => {
    const page = await readFile(join(root, 'docs/kubernetes.md'), 'utf8')
    const block = /^```sh\n([\s\S]*?)^```$/m.exec(page)?.[1] ?? ''
    const { manifests } = await render('preview')
    const kinds = { service: 'Service', deploy: 'Deployment', job: 'Job' } as const
    const named = [...block.matchAll(/\b(service|deploy|job)\/([a-z0-9-]+)(?![a-z0-9/.-])/g)]
    expect(named.map(([whole]) => whole)).toEqual(
      expect.arrayContaining(['service/ingest', 'service/s3', 'deploy/operator', 'job/provision']),
    )
    for (const [, kind = 'service', name] of named)
      if (name !== 'k8s')
        expect(
          manifests.some(
            (each) =>
              each.kind === kinds[kind as keyof typeof kinds] && each.metadata.name === name,
          ),
          `${kind}/${name}`,
        ).toBe(true)
    for (const [path] of block.matchAll(/deploy\/k8s\/[a-z0-9/.-]+/g))
      await expect(stat(join(root, path))).resolves.toBeDefined()
    for (const [, port] of block.matchAll(/port-forward service\/\w+ \d+:(\d+)/g))
      expect(
        manifests.some(({ spec }) =>
          (Array.isArray(spec?.ports) ? spec.ports : []).some(
            (each: { port: number }) => String(each.port) === port,
          ),
        ),
        port,
      ).toBe(true)
  }, 60_000)
})
