import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rm, rmdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError, type Log, logFailure } from '@avatar/service-kit'

/** Private folders for uploads while they are checked. */
export type UploadSpool = ReturnType<typeof createUploadSpool>

export function createUploadSpool(directory: string, log: Log) {
  const inUse = new Set<string>()

  /** A folder that cannot be removed becomes a leftover. It never changes the outcome of an upload. */
  async function remove(folder: string) {
    await removeFiles(folder)
      // A file that was just being opened when its upload broke off may appear while the rest is removed.
      .catch(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
      .catch((error) => logFailure(log, error, 'upload folder not removed'))
    inUse.delete(folder)
  }

  async function removeLeftovers() {
    const folders = (await readdir(directory)).map((name) => join(directory, name))
    await Promise.all(folders.filter((folder) => !inUse.has(folder)).map(remove))
  }

  return {
    /** Empties the spool. No upload outlives the process that received it. */
    async wipe(): Promise<void> {
      await rm(directory, { recursive: true, force: true })
      await mkdir(directory, { recursive: true, mode: 0o700 })
    },
    /**
     * Runs `work` with a folder of its own and removes the folder whether it succeeds or fails. A
     * successful result does not wait for the removal.
     *
     * @throws AppError STORAGE_FULL when the disk is full, after removing what earlier uploads left
     */
    async withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
      const folder = join(directory, randomUUID())
      inUse.add(folder)
      try {
        await mkdir(folder, { mode: 0o700 })
        const made = await work(folder)
        void remove(folder)
        return made
      } catch (error) {
        if (isDiskFull(error)) await removeLeftovers()
        await remove(folder)
        throw isDiskFull(error) ? new AppError('STORAGE_FULL', { cause: error }) : error
      }
    },
  }
}

/** Removes a folder without subfolders, by half as many system calls as a recursive removal takes. */
async function removeFiles(folder: string): Promise<void> {
  const names = await readdir(folder)
  await Promise.all(names.map((name) => unlink(join(folder, name))))
  await rmdir(folder)
}

/** EFBIG: a file larger than the file system or this process's own limit allows. */
const diskFullCodes: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'STORAGE_FULL'])

/** Recognises the file system's error also where a client library has wrapped it. */
function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return ('code' in error && diskFullCodes.has(error.code)) || isDiskFull(error.cause)
}
