import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { access, chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
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
    markFile: join(path, 'stack-mark'),
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

/**
 * Creates the data folder, readable by its owner alone: it holds credentials and private media.
 *
 * @throws DataFolderUnusable when it cannot be written
 */
export async function ensureDataFolder(data: DataFolder) {
  try {
    await makeFolders(data)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new DataFolderUnusable(`${data.path} cannot be used: ${reason}`, { cause: error })
  }
}

/** The data folder is no folder, or cannot be written. */
export class DataFolderUnusable extends Error {
  override readonly name = 'DataFolderUnusable'
}

async function makeFolders(data: DataFolder) {
  await mkdir(data.path, { recursive: true, mode: 0o700 })
  await access(data.path, constants.W_OK)
  for (const folder of [data.natsStore, data.s3Store, data.spool('ingest'), data.spool('sidecar')])
    await mkdir(folder, { recursive: true, mode: 0o700 })
}

/**
 * What marks the processes of this folder's stack, and nobody else's: random, made once, and with the
 * path, so that a copy of the folder is another stack.
 */
export async function ensureStackMark(data: DataFolder): Promise<string> {
  let id = await readIfThere(data.markFile)
  if (id === undefined) {
    id = randomBytes(12).toString('hex')
    await writePrivately(data.markFile, id)
  }
  return `${id}@${data.path}`
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
