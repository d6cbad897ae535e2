import { type ApiKeyRecord, apiKeyRecordSchema, buckets } from '@avatar/contracts'
import {
  type Bus,
  formatApiKey,
  hashApiKey,
  type RecordStore,
  randomBase62,
} from '@avatar/service-kit'
import { UserError } from './exit-codes.ts'
import { asOperator, type System } from './system.ts'

/** The API keys of a system. */
export type KeyRing = Awaited<ReturnType<typeof openKeyRing>>

/** Does something with the keys of a system. @throws UserError when the broker cannot be reached */
export async function withKeyRing<T>(system: System, act: (keys: KeyRing) => Promise<T>) {
  return asOperator(system, async (bus) => act(await openKeyRing(bus)))
}

/** Opens the keys that a broker holds. @throws AppError BROKER_UNAVAILABLE */
export async function openKeyRing(bus: Bus) {
  // Ingest judges keys by the broker's clock, and a ring is open for moments.
  const nowMs = await bus.timeMs()
  const records = await bus.records(buckets.apikey, apiKeyRecordSchema)

  function secretOf(publicId: string) {
    const key = formatApiKey(publicId, randomBase62(32))
    return {
      key,
      secret: { sha256: hashApiKey(key), lastFour: key.slice(-4), createdAtMs: nowMs },
    }
  }

  async function change(
    which: string,
    to: (record: ApiKeyRecord) => ApiKeyRecord,
  ): Promise<ApiKeyRecord> {
    const publicId = (await findOne(records, which)).publicId
    for (;;) {
      const found = await records.find(publicId)
      if (!found) throw new UserError(`There is no key "${which}".`)
      const changed = to(found.value)
      if ((await records.update(publicId, changed, found.revision)) !== 'conflict') return changed
    }
  }

  return {
    /** Returns the key, which is shown to its owner now and never again. */
    async create(name: string): Promise<string> {
      const publicId = randomBase62(12)
      const { key, secret } = secretOf(publicId)
      await records.create(publicId, {
        publicId,
        owner: `o_${randomBase62(12)}`,
        name,
        createdAtMs: nowMs,
        secrets: [secret],
      })
      return key
    },
    list: () => listAll(records),
    /** @throws UserError when none, or more than one, has the name */
    find: (which: string) => findOne(records, which),
    /** A new secret for the same owner; the old one works for `graceMs` more. */
    async rotate(which: string, graceMs: number): Promise<string> {
      let fresh = ''
      await change(which, (old) => {
        if (old.revokedAtMs !== undefined) throw new UserError(`The key "${which}" is revoked.`)
        const { key, secret } = secretOf(old.publicId)
        fresh = key
        const former = old.secrets.slice(0, 1).map((s) => ({ ...s, notAfterMs: nowMs + graceMs }))
        return { ...old, secrets: [secret, ...former] }
      })
      return fresh
    },
    revoke: (which: string) => change(which, (old) => ({ revokedAtMs: nowMs, ...old })),
  }
}

async function listAll(records: RecordStore<ApiKeyRecord>): Promise<ApiKeyRecord[]> {
  return (await records.list()).toSorted((a, b) => a.createdAtMs - b.createdAtMs)
}

/** A key by its public id, by the key itself, or by a name that only one has. */
async function findOne(records: RecordStore<ApiKeyRecord>, which: string): Promise<ApiKeyRecord> {
  const named = (await listAll(records)).filter(
    ({ publicId, name }) =>
      publicId === which || name === which || which.startsWith(`ava_live_${publicId}_`),
  )
  const living = named.filter((record) => record.revokedAtMs === undefined)
  const [first, second] = living.length > 0 ? living : named
  if (!first) throw new UserError(`There is no key "${which}"; avatar keys list shows them.`)
  if (second) throw new UserError(`More than one key is named "${which}"; give the id instead.`)
  return first
}
