import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { backupBroker } from '@avatar/backing-services'
import { systemClock } from '@avatar/service-kit'
import type { CommandContext } from '../command-context.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { listenForStop } from '../stop-signals.ts'
import { findSystem, operatorAccess } from '../system.ts'

const dayMs = 86_400_000

export type RegularBackupOptions = { data?: string; every: number; keepDays: number }

/** A backup's folder is named by its moment: `2026-11-29T22-18-44Z`. Others in the folder are let alone. */
const nameOf = (atMs: number) =>
  `${new Date(atMs).toISOString().slice(0, 19).replaceAll(':', '-')}Z`
const namePattern = /^(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)Z$/

/**
 * `avatar system backup DIR --every MINUTES`: makes a new backup in the folder at once and then each time,
 * and deletes those that are older than `keepDays`, until the first SIGTERM. A backup that fails is told on
 * stderr; the next is made all the same, and nothing is deleted in its place.
 *
 * @returns 0; a backup that has begun is finished first
 */
export async function backupRegularly(
  folder: string,
  { data, every, keepDays }: RegularBackupOptions,
  { env, stdout, stderr, signals }: CommandContext,
): Promise<number> {
  const stop = listenForStop(signals, systemClock)
  const access = operatorAccess(await findSystem(data, env))
  while (!stop.requested.aborted) {
    const nowMs = systemClock.nowMs()
    const name = nameOf(nowMs)
    try {
      const { streams } = await backupBroker(access, join(folder, name), nowMs)
      const old = await removeOlder(folder, nowMs - keepDays * dayMs)
      const messages = streams.reduce((sum, stream) => sum + stream.messages, 0)
      stdout.write(`${name}: ${messages} messages${old > 0 ? `; ${old} old ones deleted` : ''}\n`)
    } catch (error) {
      stderr.write(`${name}: no backup was made: ${reasonOf(error)}\n`)
    }
    await sleep(every * 60_000, undefined, { signal: stop.requested }).catch(() => undefined)
  }
  stop.forget()
  return exitCodes.ok
}

/** @returns how many were deleted */
async function removeOlder(folder: string, beforeMs: number): Promise<number> {
  const names = await readdir(folder)
  const old = names.filter((name) => {
    const [, day, hour, minute, second] = namePattern.exec(name) ?? []
    return day !== undefined && Date.parse(`${day}T${hour}:${minute}:${second}Z`) < beforeMs
  })
  for (const name of old) await rm(join(folder, name), { recursive: true })
  return old.length
}

function reasonOf(error: unknown): string {
  if (error instanceof UserError) return error.message
  return error instanceof Error ? error.message : String(error)
}
