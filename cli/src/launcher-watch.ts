import { readFile, readlink } from 'node:fs/promises'
import type { Clock } from '@avatar/service-kit'

const lookEveryMs = 200

/**
 * Resolves when the npm that started this process has gone. `npx avatar up` is npm, maybe a shell, and
 * only then this process: neither of the two passes on a signal that ends it, and without this the
 * system would run on unseen. Never resolves where npm is not above, or where `/proc` is not known.
 */
export async function launcherGone(
  env: Readonly<Record<string, string | undefined>>,
  clock: Clock,
): Promise<void> {
  const above = process.ppid
  if (!env['npm_execpath']) return new Promise(() => undefined)
  // A shell that becomes its one command leaves npm right above, and what is above npm does not matter.
  const isNpm = (await executableOf(above)) === env['npm_node_execpath']
  const npm = isNpm ? undefined : await parentOf(above)
  if (!isNpm && (npm === undefined || npm <= 1)) return new Promise(() => undefined)
  while (process.ppid === above && (isNpm || (await parentOf(above)) === npm))
    await clock.wait(lookEveryMs)
}

async function executableOf(pid: number): Promise<string | undefined> {
  return readlink(`/proc/${pid}/exe`).catch(() => undefined)
}

/** Undefined when there is no such process, or no way to know. */
async function parentOf(pid: number): Promise<number | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  return stat === undefined
    ? undefined
    : Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}
