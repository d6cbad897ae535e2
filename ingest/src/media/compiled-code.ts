import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'

/** Where Node keeps the compiled code of the checker that lives in this folder. */
export function compileCacheOf(home: string): string {
  return join(home, 'compile-cache')
}

/**
 * The compiled code of one checker for all that start after it: two thirds of the processor time of a start. It
 * comes from a checker that has met no medium yet and is kept in our own memory. In a folder that checkers
 * share, one that a medium has taken over could leave code for the next.
 *
 * A start needs none of it, so a full disk is no failure here. Node takes no file that is incomplete.
 */
export type CompiledCode = ReturnType<typeof createCompiledCode>

export function createCompiledCode() {
  /** By their paths in the cache. */
  let files: ReadonlyMap<string, Buffer> = new Map()

  return {
    /** Keeps what the first checker has compiled until it was ready. */
    async keepFrom(home: string): Promise<void> {
      if (files.size > 0) return
      files = await filesIn(compileCacheOf(home)).catch(() => files)
    },
    async writeTo(home: string): Promise<void> {
      await writeFiles(compileCacheOf(home), files).catch(() => undefined)
    },
  }
}

async function filesIn(folder: string): Promise<ReadonlyMap<string, Buffer>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const paths = entries.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name))
  const read = async (path: string) => [relative(folder, path), await readFile(path)] as const
  return new Map(await Promise.all(paths.map(read)))
}

async function writeFiles(folder: string, files: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const [path, bytes] of files) {
    const to = join(folder, path)
    await mkdir(dirname(to), { recursive: true })
    await writeFile(to, bytes)
  }
}
