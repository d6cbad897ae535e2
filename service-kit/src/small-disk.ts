import { spawnSync } from 'node:child_process'
import { mkdir, open, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'

/** A disk that is soon full. */
export type SmallDisk = {
  path: string
  /** Fills it, but for less than one message. */
  fill(): Promise<void>
  makeRoom(): Promise<void>
  unmount(): Promise<void>
}

/** Left free by `fill`: a write of a file's first bytes needs a page. */
const leftFreeBytes = 4_096

/** Mounts a tmpfs on a folder, which it creates. Undefined without the permission to mount. */
export async function mountSmallDisk(path: string, bytes: number): Promise<SmallDisk | undefined> {
  await mkdir(path, { recursive: true })
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path])
  if (status !== 0) return undefined
  const ballast = join(path, 'ballast')
  return {
    path,
    async fill() {
      const { bavail, bsize } = await statfs(path)
      const size = Math.max(0, bavail * bsize - leftFreeBytes)
      // By its handle, for whoever cleans up the folder may remove it at any moment.
      const file = await open(ballast, 'w')
      try {
        await file.writeFile(Buffer.alloc(size)).catch(async (error) => {
          if (error.code !== 'ENOSPC') throw error // Somebody else has written meanwhile.
          await file.truncate(Math.max(0, (await file.stat()).size - leftFreeBytes))
        })
      } finally {
        await file.close()
      }
    },
    // A service that cleans up its own folder may have removed it.
    makeRoom: () => rm(ballast, { force: true }),
    async unmount() {
      spawnSync('umount', ['-l', path])
      await rm(path, { recursive: true, force: true })
    },
  }
}
