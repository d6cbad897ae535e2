import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { CommandContext } from '../command-context.ts'
import { UserError } from '../exit-codes.ts'
import { natsCluster, natsStore, type SecretFiles, secretFilesOf } from '../init/secret-files.ts'
import { writeSecretFolder } from '../init/secret-folder.ts'
import { ensureCredentials } from '../stack/credentials.ts'
import { dataFolder } from '../stack/data-folder.ts'

export type InitOptions = { for: 'compose' | 'kubernetes'; out: string; uid: number }

/**
 * `avatar system init`: makes the credentials once, in DIR, and gives each service its own part. For
 * compose these are folders that only the service's user can read; for Kubernetes, Secrets on standard
 * output. A repetition gives the same ones, and adds what a newer version needs.
 */
export async function init(options: InitOptions, { stdout }: CommandContext) {
  const { out } = options
  await mkdir(out, { recursive: true, mode: 0o711 }).catch((error: Error) => {
    throw new UserError(`${out} cannot be used: ${error.message}`)
  })
  const credentials = await ensureCredentials(dataFolder(out))
  if (options.for === 'kubernetes') {
    const files = secretFilesOf(credentials, { natsStore, cluster: natsCluster })
    stdout.write(`${JSON.stringify(secretManifests(files), null, 2)}\n`)
    return
  }
  const files = secretFilesOf(credentials, { natsStore })
  for (const [name, its] of files) await writeSecretFolder(join(out, name), its, options.uid)
  stdout.write(`${out}: secrets of ${[...files.keys()].join(', ')}\n`)
}

/** One Secret for each recipient, as one List, which `kubectl apply -f -` takes. */
function secretManifests(files: SecretFiles) {
  const items = [...files].map(([name, its]) => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: `avatar-${name}`, labels: { 'app.kubernetes.io/part-of': 'avatar' } },
    type: 'Opaque',
    stringData: its,
  }))
  return { apiVersion: 'v1', kind: 'List', items }
}
