import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import type { Release } from '@avatar/contracts'
import type { Platform } from '../deployment.ts'
import { must, type Run } from '../run-program.ts'

export type KubernetesOptions = {
  run: Run
  /** `kubectl`, and what it needs to reach the cluster, such as `--context`. */
  kubectl: readonly [string, ...string[]]
  /** A folder of deploy/k8s/overlays. */
  overlay: string
  /** Which image the workers of the overlay have. */
  workers: 'preview' | 'gpu' | 'none'
}

const namespace = 'avatar'
const rolloutWithin = '--timeout=600s'

/** A cluster, as `kubectl` reaches it. */
export function kubernetesPlatform(options: KubernetesOptions): Platform {
  const { run, kubectl, overlay, workers } = options
  const inNamespace = (...words: string[]) => [...kubectl, '-n', namespace, ...words] as const
  const rollout = (...names: string[]) =>
    names.reduce(async (before, name) => {
      await before
      await must(run, inNamespace('rollout', 'status', name, rolloutWithin))
    }, Promise.resolve())

  async function applyOverlay(services: Release, of: Release) {
    const folder = await realpath(await mkdtemp(join(tmpdir(), 'avatar-release-')))
    try {
      const kustomization = kustomizationOf(relative(folder, await realpath(overlay)), [
        ['avatar-api', services.images.services],
        ...(workers === 'none' ? [] : [['avatar-sidecar', of.images[workers]] as const]),
      ])
      await writeFile(join(folder, 'kustomization.yaml'), kustomization)
      // A Job cannot be changed.
      await must(run, inNamespace('delete', 'job', 'provision', '--ignore-not-found'))
      await must(run, [...kubectl, 'apply', '-k', folder])
    } finally {
      await rm(folder, { recursive: true })
    }
  }

  return {
    name: 'kubernetes',
    avatar: (args) => run(inNamespace('exec', 'deploy/operator', '--', 'avatar', ...args)),
    async useCommandLine({ images }) {
      const image = `operator=${images.services}`
      await must(run, inNamespace('set', 'image', 'deploy/operator', image))
      await rollout('deploy/operator')
    },
    async deployServices(release, workersBefore) {
      await applyOverlay(release, workersBefore)
      await rollout(
        ...['statefulset/nats', 'deploy/orchestrator', 'deploy/janitor', 'deploy/ingest'],
        'deploy/operator',
      )
    },
    async deployWorkers(release) {
      if (workers === 'none') return
      await applyOverlay(release, release)
      // GPU workers are Jobs, which nobody rolls out.
      if (workers === 'preview') await rollout('deploy/sidecar')
    },
  }
}

/** The overlay with images by digest. JSON is YAML, too. */
export function kustomizationOf(
  overlay: string,
  images: readonly (readonly [name: string, image: string])[],
): string {
  return JSON.stringify({
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    resources: [overlay],
    images: images.map(([name, image]) => {
      const [newName = '', digest = ''] = image.split('@')
      return { name, newName, digest }
    }),
  })
}
