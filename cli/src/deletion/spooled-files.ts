import { readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { jobIdSchema } from '@avatar/contracts'
import type { Remains } from './what-stays.ts'

/**
 * A render is spooled in the folder of its job, `.part` until it is complete; an attempt in hand has a folder
 * named for its epoch too.
 */
const jobFolder = /^([0-9a-f-]{36})(\.part|-\d+)?$/
/** Of a process that checks media. It is there for as long as that runs, and empty between two checks. */
const checkerFolder = /^checker-/

/**
 * Everything in the spools of one data folder, replicas included: uploads that are checked, renders that wait
 * for their upload, and files of jobs in hand.
 *
 * @param spools the folder that holds a spool for each service
 */
export async function spooledFiles(spools: string, nowMs: number): Promise<Remains['spooled']> {
  const found: Remains['spooled'][number][] = []
  for (const folder of await foldersBelow(spools)) {
    const name = basename(folder)
    const [, id] = jobFolder.exec(name) ?? []
    if (id === undefined && !checkerFolder.test(name)) continue
    // One that has gone meanwhile is empty too.
    const files = await readdir(folder).catch(() => [])
    if (id === undefined && files.length === 0) continue
    const { mtimeMs } = await stat(folder).catch(() => ({ mtimeMs: nowMs }))
    // The folder of an upload has an id too, but of no job.
    const jobId = jobIdSchema.safeParse(id).data
    found.push({ folder, jobId, ageMs: nowMs - mtimeMs })
  }
  return found
}

async function foldersBelow(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true, recursive: true }).catch(() => [])
  return entries
    .filter((entry) => entry.isDirectory())
    .map(({ parentPath, name }) => join(parentPath, name))
}
