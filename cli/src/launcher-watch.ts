import { readlink } from 'node:fs/promises'
import type { Clock } from '@avatar/service-kit'
import { statOf } from './process-table.ts'

const pollEveryMs = 200

/**
 * Resolves when the npm that started this process has gone. Under `npx avatar up` npm is the parent, or
 * the parent of a shell that is. A signal that kills one of the two never reaches this process, and
 * without this watch the system would run on unnoticed. Never resolves without npm or without `/proc`.
 */
export async function launcherGone(
  env: Readonly<Record<string, string | undefined>>,
  clock: Clock,
): Promise<void> {
  const above = process.ppid
  if (!env['npm_execpath']) return new Promise(() => undefined)
  // A shell that `exec`s its only command leaves npm as the parent; npm's own parent does not matter.
  const executable = await readlink(`/proc/${above}/exe`).catch(() => undefined)
  const isNpm = executable === env['npm_node_execpath']
  const parentOf = async (pid: number) => (await statOf(pid))?.parent
  const npm = isNpm ? undefined : await parentOf(above)
  if (!isNpm && (npm === undefined || npm <= 1)) return new Promise(() => undefined)
  while (process.ppid === above && (isNpm || (await parentOf(above)) === npm))
    await clock.wait(pollEveryMs)
}
