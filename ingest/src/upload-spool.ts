import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '@avatar/service-kit'

/** Private folders for uploads while they are checked. */
export type UploadSpool = {
  /** Empties the spool: nothing in it outlives the process that wrote it. */
  wipe(): Promise<void>
  /**
   * Runs with a folder of its own, which is removed whatever happens. On a full disk leftovers are
   * removed, and the work fails with STORAGE_FULL.
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
        return await work(folder)
      } catch (error) {
        if (!isDiskFull(error)) throw error
        await removeLeftovers()
        throw new AppError('STORAGE_FULL', { cause: error })
      } finally {
        await rm(folder, { recursive: true, force: true })
        inUse.delete(folder)
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
