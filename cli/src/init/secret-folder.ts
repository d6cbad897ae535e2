import { chmod, chown, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Readable by its owner alone. Only root can give it to another user. */
export async function writeSecretFolder(
  folder: string,
  files: Readonly<Record<string, string>>,
  uid: number,
) {
  await mkdir(folder, { recursive: true })
  await owned(folder, 0o500, uid)
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name)
    // What has not changed keeps its inode: a server may be reading it.
    if ((await readFile(path, 'utf8').catch(() => undefined)) === content) continue
    await chmod(folder, 0o700)
    const fresh = `${path}.part`
    await writeFile(fresh, content, { mode: 0o400 })
    await owned(fresh, 0o400, uid)
    await rename(fresh, path)
    await chmod(folder, 0o500)
  }
}

async function owned(path: string, mode: number, uid: number) {
  await chmod(path, mode)
  if (process.getuid?.() === 0) await chown(path, uid, uid)
}
