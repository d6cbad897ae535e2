/**
 * Builds the images that run without a GPU, under the names that docker-compose.yml uses.
 *
 *   node scripts/containers/build-images.ts [services|preview|gpu]…
 */
import { join } from 'node:path'
import { docker, runProgram } from './docker.ts'

const root = join(import.meta.dirname, '../..')

const images = {
  services: { file: 'services', tag: 'avatar-api:latest', options: [] },
  preview: { file: 'sidecar', tag: 'avatar-sidecar:preview', options: ['--target', 'preview'] },
  gpu: { file: 'sidecar', tag: 'avatar-sidecar:gpu', options: ['--target', 'gpu'] },
} as const

export type ImageName = keyof typeof images

/** Builds side by side: most of it waits for packages. Layers are cached: a repetition takes seconds. */
export async function buildImages(
  names: readonly ImageName[],
  signal?: AbortSignal,
): Promise<void> {
  const revision = await runProgram('git', ['rev-parse', 'HEAD'], { cwd: root, signal })
  await Promise.all(names.map((name) => build(name, revision.trim(), signal)))
}

async function build(name: ImageName, revision: string, signal?: AbortSignal) {
  const { file, tag, options } = images[name]
  const startedAt = Date.now()
  await docker(
    [
      ...['build', '--quiet', '--file', join(root, `deploy/docker/${file}.Dockerfile`)],
      // Where the engine has no resolver of its own, as on a machine behind a proxy.
      ...['--network', 'host'],
      ...['--build-arg', `REVISION=${revision}`, '--tag', tag, ...options, root],
    ],
    signal,
  )
  const seconds = Math.round((Date.now() - startedAt) / 1000)
  const bytes = Number(await docker(['image', 'inspect', '--format', '{{.Size}}', tag], signal))
  console.log(`${tag}: built in ${seconds} s, ${Math.round(bytes / 1e6)} MB`)
}

if (import.meta.main) {
  const named = process.argv.slice(2).filter((word): word is ImageName => word in images)
  await buildImages(named.length > 0 ? named : ['services', 'preview'])
}
