import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { jobIdSchema } from '@avatar/contracts'
import type { Remains } from './what-stays.ts'

/** A render is spooled in the folder of its job, `.part` until it is complete. */
const jobFolder = /^([0-9a-f-]{36})(\.part)?$/

/**
 * Everything in the spools of one data folder, replicas included: uploads that are checked, renders that wait
 * for their upload, and files of jobs in hand.
 *
 * @param spools the folder that holds a spool for each service
 */
export async function spooledFiles(spools: string, nowMs: number): Promise<Remains['spooled']> {
  const found: Remains['spooled'][number][] = []
  for (const folder of await foldersBelow(spools)) {
    const name = folder.split('/').at(-1) ?? ''
    const [, id] = jobFolder.exec(name) ?? []
    if (id === undefined) continue
    const { mtimeMs } = await stat(folder).catch(() => ({ mtimeMs: nowMs })) // It has gone meanwhile.
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
