import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { access, chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { specOf } from '@avatar/contracts'
import type { z } from 'zod'
import { UserError } from '../exit-codes.ts'
import { type Instance, instancesOf } from './instances.ts'

/** The paths inside the data folder of a stack. */
export type DataFolder = ReturnType<typeof dataFolder>

/** The paths of a data folder; creates nothing. */
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
    /** What a Prometheus scrapes, in the format of its file discovery. */
    scrapeTargets: join(path, 'prometheus-targets.json'),
    /** What `avatar up --observe` keeps. */
    observe: join(path, 'observe'),
    natsConf: join(path, 'nats.conf'),
    natsStore: join(path, 'nats'),
    s3Identities: join(path, 's3-identities.json'),
    s3Store: join(path, 's3'),
    /** Of one process, such as `ingest` or `ingest-2`. */
    spool: (label: string) => join(path, 'spool', label),
  } as const
}

/**
 * Creates the data folder, readable by its owner alone: it holds credentials and private media.
 *
 * @throws UserError when it cannot be written
 */
export async function ensureDataFolder(
  data: DataFolder,
  instances: readonly Instance[] = instancesOf({}),
) {
  await makeFolders(data, instances).catch((error: Error) => {
    throw new UserError(`${data.path} cannot be used: ${error.message}`)
  })
}

async function makeFolders(data: DataFolder, instances: readonly Instance[]) {
  await mkdir(data.path, { recursive: true, mode: 0o700 })
  await access(data.path, constants.W_OK)
  const spooling = instances.filter(({ name }) => specOf(name).needs?.includes('spool'))
  const spools = spooling.map(({ label }) => data.spool(label))
  for (const folder of [data.natsStore, data.s3Store, ...spools])
    await mkdir(folder, { recursive: true, mode: 0o700 })
}

/**
 * The mark of this folder's processes: a random id, made once, and the path, which makes a copy of the
 * folder another stack.
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

/** What a JSON file holds, or undefined when there is none or it does not follow the schema. */
export async function readJsonIfThere<S extends z.ZodType>(
  path: string,
  schema: S,
): Promise<z.output<S> | undefined> {
  const text = await readIfThere(path)
  try {
    return text === undefined ? undefined : schema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
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
