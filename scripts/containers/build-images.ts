/**
 * Builds the images that run without a GPU, under the names that docker-compose.yml uses.
 *
 *   node scripts/containers/build-images.ts [services|preview|gpu]…
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { docker } from './docker.ts'

const root = join(import.meta.dirname, '../..')

const images = {
  services: { file: 'services', tag: 'avatar-api:latest', options: [] },
  preview: { file: 'sidecar', tag: 'avatar-sidecar:preview', options: ['--target', 'preview'] },
  gpu: { file: 'sidecar', tag: 'avatar-sidecar:gpu', options: ['--target', 'gpu'] },
} as const

export type ImageName = keyof typeof images

/** Layers are cached: a repetition takes seconds. */
export function buildImages(names: readonly ImageName[]): void {
  const revision = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' })
  for (const name of names) {
    const { file, tag, options } = images[name]
    const startedAt = Date.now()
    docker(
      ...['build', '--quiet', '--file', join(root, `deploy/docker/${file}.Dockerfile`)],
      // Where the engine has no resolver of its own, as on a machine behind a proxy.
      ...['--network', 'host'],
      ...['--build-arg', `REVISION=${revision.trim()}`, '--tag', tag, ...options, root],
    )
    console.log(`${tag} built in ${Math.round((Date.now() - startedAt) / 1000)} s`)
  }
}

if (import.meta.main) {
  const named = process.argv.slice(2).filter((word): word is ImageName => word in images)
  buildImages(named.length > 0 ? named : ['services', 'preview'])
}
