import type { CommandContext } from '../command-context.ts'
import { type KeyRing, withKeyRing } from '../key-ring.ts'
import { findSystem } from '../system.ts'
import { table } from '../table.ts'

export type KeysOptions = { data?: string; json?: boolean }

/** `avatar keys create`: prints the new key, which is never shown again. */
export async function createKey(options: KeysOptions & { name: string }, context: CommandContext) {
  const fresh = await withKeys(options, context, (keys) => keys.create(options.name))
  showFreshKey(fresh, options, context)
}

/** `avatar keys list`: the owners of keys, never a key itself. */
export async function listKeys(options: KeysOptions, context: CommandContext) {
  const records = await withKeys(options, context, (keys) => keys.list())
  const rows = records.map((record) => ({
    id: record.publicId,
    name: record.name,
    owner: record.owner,
    last_four: record.secrets[0]?.lastFour ?? '',
    created_at: new Date(record.createdAtMs).toISOString(),
    revoked_at: record.revokedAtMs ? new Date(record.revokedAtMs).toISOString() : null,
  }))
  context.stdout.write(
    options.json
      ? `${JSON.stringify({ keys: rows })}\n`
      : table(
          ['ID', 'NAME', 'OWNER', 'ENDS WITH', 'CREATED', 'REVOKED'],
          rows.map((row) => Object.values(row).map((value) => value ?? '')),
        ),
  )
}

/** `avatar keys rotate`: a new key for the same owner; the old one works for `graceHours` more. */
export async function rotateKey(
  which: string,
  options: KeysOptions & { graceHours: number },
  context: CommandContext,
) {
  const graceMs = options.graceHours * 3_600_000
  const fresh = await withKeys(options, context, (keys) => keys.rotate(which, graceMs))
  showFreshKey(fresh, options, context)
}

/** `avatar keys revoke`: the key stops working within five seconds. */
export async function revokeKey(which: string, options: KeysOptions, context: CommandContext) {
  const record = await withKeys(options, context, (keys) => keys.revoke(which))
  context.stdout.write(
    options.json
      ? `${JSON.stringify({ id: record.publicId, name: record.name, revoked: true })}\n`
      : `Revoked ${record.name} (${record.publicId}); it stops working within 5 seconds.\n`,
  )
}

async function withKeys<T>(
  options: KeysOptions,
  { env }: CommandContext,
  act: (keys: KeyRing) => Promise<T>,
): Promise<T> {
  return withKeyRing(await findSystem(options.data, env), act)
}

function showFreshKey(key: string, { json }: KeysOptions, context: CommandContext) {
  if (json) context.stdout.write(`${JSON.stringify({ key })}\n`)
  else context.stdout.write(`${key}\n\nKeep it now: it is stored hashed and never shown again.\n`)
}
