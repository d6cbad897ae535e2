import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { CommandContext } from '../command-context.ts'
import { UserError } from '../exit-codes.ts'
import { natsCluster, natsStore, type SecretFiles, secretFilesOf } from '../init/secret-files.ts'
import { writeSecretFolder } from '../init/secret-folder.ts'
import {
  type Credentials,
  ensureCredentials,
  saveCredentials,
  withPoolUser,
} from '../stack/credentials.ts'
import { type DataFolder, dataFolder } from '../stack/data-folder.ts'
import { poolNamed } from '../workers/pool-name.ts'

export type InitOptions = {
  for: 'compose' | 'kubernetes'
  out: string
  uid: number
  /** Pools of workers elsewhere, which get a user each. */
  pool: readonly string[]
}

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
  const credentials = await credentialsWith(options.pool, dataFolder(out))
  if (options.for === 'kubernetes') {
    const files = secretFilesOf(credentials, { natsStore, cluster: natsCluster })
    stdout.write(`${JSON.stringify(secretManifests(files), null, 2)}\n`)
    return
  }
  const files = secretFilesOf(credentials, { natsStore })
  for (const [name, its] of files) await writeSecretFolder(join(out, name), its, options.uid)
  stdout.write(`${out}: secrets of ${[...files.keys()].join(', ')}\n`)
}

async function credentialsWith(pools: readonly string[], data: DataFolder): Promise<Credentials> {
  let credentials = await ensureCredentials(data)
  const known = new Set(credentials.poolUsers.map(({ pool }) => pool))
  const missing = [...new Set(pools)].filter((pool) => !known.has(pool))
  for (const pool of missing) credentials = withPoolUser(credentials, poolNamed(pool))
  if (missing.length > 0) await saveCredentials(data, credentials)
  return credentials
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
