import { readFile } from 'node:fs/promises'
import type { Clock } from '@avatar/service-kit'

const lookEveryMs = 200

/**
 * Resolves when the npm that started this process has gone. `npx avatar up` is npm, a shell, and only
 * then this process: neither of the two passes on a signal that ends it, and without this the system
 * would run on unseen. Never resolves where npm is not above, or where `/proc` is not known.
 */
export async function launcherGone(
  env: Readonly<Record<string, string | undefined>>,
  clock: Clock,
): Promise<void> {
  const shell = process.ppid
  const npm = env['npm_execpath'] ? await parentOf(shell) : undefined
  if (npm === undefined || npm <= 1) return new Promise(() => undefined)
  while (process.ppid === shell && (await parentOf(shell)) === npm) await clock.wait(lookEveryMs)
}

/** Undefined when there is no such process, or no way to know. */
async function parentOf(pid: number): Promise<number | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  return stat === undefined
    ? undefined
    : Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}
