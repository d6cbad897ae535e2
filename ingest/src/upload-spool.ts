import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '@avatar/service-kit'

/** Private folders for uploads while they are checked. */
export type UploadSpool = {
  /** Empties the spool: nothing in it outlives the process that wrote it. */
  wipe(): Promise<void>
  /**
   * Runs with a folder of its own, which is removed whatever happens; what succeeds does not wait for
   * that. On a full disk leftovers are removed, and the work fails with STORAGE_FULL.
   */
  withFolder<T>(work: (folder: string) => Promise<T>): Promise<T>
}

export function createUploadSpool(directory: string): UploadSpool {
  const inUse = new Set<string>()

  /** Folders nobody uses: of uploads whose removal failed. */
  async function removeLeftovers() {
    for (const name of await readdir(directory)) {
      const folder = join(directory, name)
      if (!inUse.has(folder)) await rm(folder, { recursive: true, force: true })
    }
  }

  async function remove(folder: string) {
    try {
      await rm(folder, { recursive: true, force: true })
    } finally {
      inUse.delete(folder)
    }
  }

  return {
    async wipe() {
      await rm(directory, { recursive: true, force: true })
      await mkdir(directory, { recursive: true, mode: 0o700 })
    },
    async withFolder(work) {
      const folder = join(directory, randomUUID())
      inUse.add(folder)
      try {
        await mkdir(folder, { mode: 0o700 })
        const made = await work(folder)
        // One that cannot be removed is a leftover, and no reason to take an accepted job back.
        remove(folder).catch(() => undefined)
        return made
      } catch (error) {
        if (isDiskFull(error)) await removeLeftovers()
        await remove(folder)
        throw isDiskFull(error) ? new AppError('STORAGE_FULL', { cause: error }) : error
      }
    },
  }
}

/** EFBIG: more than the file system, or the limit that this process was started with, lets it write. */
const diskFullCodes: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'STORAGE_FULL'])

/** Also when a client of ours wrapped the file system's error. */
function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return ('code' in error && diskFullCodes.has(error.code)) || isDiskFull(error.cause)
}
