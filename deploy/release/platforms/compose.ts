import { readFile, rename, writeFile } from 'node:fs/promises'
import type { Release } from '@avatar/contracts'
import type { Platform } from '../deployment.ts'
import { must, type Run } from '../run-program.ts'

export type ComposeOptions = {
  run: Run
  /** docker-compose.yml of the release. */
  file: string
  /** The machine's own settings, which stay from release to release: what Compose takes as `.env`. */
  settings: string
  /** Where backups go on the machine; user 10001 must be able to write there. */
  backups: string
  /** Which workers run here. */
  workers: 'preview' | 'gpu' | 'none'
}

/** The variables of docker-compose.yml. */
const variables = {
  services: 'SERVICES_IMAGE',
  preview: 'PREVIEW_IMAGE',
  gpu: 'GPU_IMAGE',
} as const
const workerServices = { preview: 'sidecar', gpu: 'sidecar-gpu' } as const

/**
 * A machine with Docker Compose. The images are written into its settings, so that whoever types `up` there
 * gets them.
 */
export function composePlatform({
  run,
  file,
  settings,
  backups,
  workers,
}: ComposeOptions): Platform {
  const compose = (...words: string[]) =>
    ['docker', 'compose', '-f', file, '--env-file', settings, ...words] as const
  let commandLine: Record<string, string> = {}

  /** What is not ours stays as it is. @throws when the settings cannot be read */
  async function writeImages(images: Readonly<Record<string, string>>) {
    const before = await readFile(settings, 'utf8')
    const isOurs = (line: string) => Object.keys(images).some((name) => line.startsWith(`${name}=`))
    const kept = before.split('\n').filter((line) => line !== '' && !isOurs(line))
    const lines = Object.entries(images).map(([name, image]) => `${name}=${image}`)
    await writeFile(`${settings}.part`, `${[...kept, ...lines].join('\n')}\n`)
    await rename(`${settings}.part`, settings)
  }

  const up = (service: string, profile: readonly string[] = []) =>
    must(run, compose(...profile, 'up', '-d', '--wait', '--no-deps', '--no-build', service))

  /** Compose would build what it does not find, from whatever lies here. */
  const pull = (image: string) => must(run, ['docker', 'pull', '--quiet', image])

  return {
    name: 'compose',
    avatar: (args) =>
      run(compose('run', '--rm', '-T', '-v', `${backups}:/backups`, 'cli', ...args), {
        env: commandLine,
      }),
    async useCommandLine({ images }) {
      await pull(images.services)
      commandLine = { [variables.services]: images.services }
    },
    async deployServices({ images }) {
      await pull(images.services)
      await writeImages({ [variables.services]: images.services })
      for (const service of ['orchestrator', 'janitor', 'ingest']) await up(service)
    },
    async deployWorkers({ images }: Release) {
      await writeImages({ [variables.preview]: images.preview, [variables.gpu]: images.gpu })
      if (workers === 'none') return
      await pull(images[workers])
      await up(workerServices[workers], ['--profile', workers])
    },
  }
}
