import type { ApiKeyRecord, Timings } from '@avatar/contracts'
import {
  AppError,
  apiKeyOpens,
  type Clock,
  parseApiKey,
  type RecordStore,
} from '@avatar/service-kit'

/** Finds the owner of an API key. */
export type ApiKeys = ReturnType<typeof createApiKeys>

/**
 * Looks keys up in the store and caches those it finds for `timings.apiKeyCacheMs`. A revocation
 * takes effect when the cached entry expires, also while the broker restarts. The cache alone never
 * refuses a key, so a new key and the new secret of a rotated one work at once.
 */
export function createApiKeys(deps: {
  records: RecordStore<ApiKeyRecord>
  clock: Clock
  timings: Timings
}) {
  const { records, clock, timings } = deps
  const cache = new Map<string, { record: ApiKeyRecord; untilMs: number }>()

  function cachedRecord(publicId: string): ApiKeyRecord | undefined {
    const cached = cache.get(publicId)
    return cached && clock.monotonicMs() < cached.untilMs ? cached.record : undefined
  }

  async function lookUp(publicId: string): Promise<ApiKeyRecord | undefined> {
    const nowMs = clock.monotonicMs()
    const found = await records.find(publicId)
    if (!found) return undefined
    if (cache.size >= 10_000) cache.clear()
    cache.set(publicId, { record: found.value, untilMs: nowMs + timings.apiKeyCacheMs })
    return found.value
  }

  return {
    /** @throws AppError UNAUTHORIZED, the same for every reason; BROKER_UNAVAILABLE */
    async ownerOf(authorization: string | undefined): Promise<string> {
      const [, key] = /^Bearer +(\S+)$/i.exec(authorization ?? '') ?? []
      const parsed = key === undefined ? undefined : parseApiKey(key)
      if (!parsed) throw new AppError('UNAUTHORIZED')
      const opens = (record: ApiKeyRecord | undefined) =>
        record && apiKeyOpens(record, parsed.key, clock.nowMs()) ? record.owner : undefined
      const owner = opens(cachedRecord(parsed.publicId)) ?? opens(await lookUp(parsed.publicId))
      if (owner === undefined) throw new AppError('UNAUTHORIZED')
      return owner
    },
  }
}
