import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'

/** Where things lie in the data folder of a stack. */
export type DataFolder = ReturnType<typeof dataFolder>

/** The data folder's paths; creates nothing. */
export function dataFolder(folder: string) {
  const path = resolve(folder)
  return {
    path,
    stackFile: join(path, 'stack.json'),
    supervisorFile: join(path, 'supervisor.json'),
    credentialsFile: join(path, 'credentials.json'),
    portsFile: join(path, 'ports.json'),
    cliKeyFile: join(path, 'cli-key'),
    natsConf: join(path, 'nats.conf'),
    natsStore: join(path, 'nats'),
    s3Identities: join(path, 's3-identities.json'),
    s3Store: join(path, 's3'),
    spool: (service: string) => join(path, 'spool', service),
  } as const
}

/** Creates the data folder, readable by its owner alone: it holds credentials and private media. */
export async function ensureDataFolder(data: DataFolder) {
  await mkdir(data.path, { recursive: true, mode: 0o700 })
  for (const folder of [data.natsStore, data.s3Store, data.spool('ingest'), data.spool('sidecar')])
    await mkdir(folder, { recursive: true, mode: 0o700 })
}

/** Replaces a file by rename, so that a reader sees the old or the new one, never half of it. */
export async function writePrivately(path: string, text: string) {
  const fresh = `${path}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`
  await writeFile(fresh, text, { mode: 0o600 })
  await chmod(fresh, 0o600)
  await rename(fresh, path)
}

/** A file's text, or undefined when there is none. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}
