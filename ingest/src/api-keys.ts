import type { ApiKeyRecord, Timings } from '@avatar/contracts'
import {
  AppError,
  apiKeyOpens,
  type Clock,
  parseApiKey,
  type RecordStore,
} from '@avatar/service-kit'

/** Who is behind an API key. */
export type ApiKeys = { ownerOf(authorization: string | undefined): Promise<string> }

/**
 * Looks keys up in the store, remembering known ones for a moment: a revocation works within that
 * moment, also across restarts of the broker. Unknown ids are never remembered, so a new key works at
 * once.
 */
export function createApiKeys(deps: {
  records: RecordStore<ApiKeyRecord>
  clock: Clock
  timings: Timings
}): ApiKeys {
  const { records, clock, timings } = deps
  const known = new Map<string, { record: ApiKeyRecord; untilMs: number }>()

  async function find(publicId: string): Promise<ApiKeyRecord | undefined> {
    const nowMs = clock.monotonicMs()
    const cached = known.get(publicId)
    if (cached && nowMs < cached.untilMs) return cached.record
    const found = await records.find(publicId)
    if (!found) return undefined
    if (known.size >= 10_000) known.clear()
    known.set(publicId, { record: found.value, untilMs: nowMs + timings.apiKeyCacheMs })
    return found.value
  }

  return {
    /** @throws AppError UNAUTHORIZED, the same for every reason; BROKER_UNAVAILABLE */
    async ownerOf(authorization) {
      const [, key] = /^Bearer +(\S+)$/i.exec(authorization ?? '') ?? []
      const parsed = key === undefined ? undefined : parseApiKey(key)
      const record = parsed && (await find(parsed.publicId))
      if (!record || !parsed || !apiKeyOpens(record, parsed.key, clock.nowMs()))
        throw new AppError('UNAUTHORIZED')
      return record.owner
    },
  }
}
