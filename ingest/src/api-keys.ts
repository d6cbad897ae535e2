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
 * moment, also across restarts of the broker. Nobody is refused by memory alone, so a new key, and
 * the new secret of a rotated one, work at once.
 */
export function createApiKeys(deps: {
  records: RecordStore<ApiKeyRecord>
  clock: Clock
  timings: Timings
}): ApiKeys {
  const { records, clock, timings } = deps
  const known = new Map<string, { record: ApiKeyRecord; untilMs: number }>()

  function remembered(publicId: string): ApiKeyRecord | undefined {
    const cached = known.get(publicId)
    return cached && clock.monotonicMs() < cached.untilMs ? cached.record : undefined
  }

  async function lookUp(publicId: string): Promise<ApiKeyRecord | undefined> {
    const nowMs = clock.monotonicMs()
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
      if (!parsed) throw new AppError('UNAUTHORIZED')
      const opens = (record: ApiKeyRecord | undefined) =>
        record && apiKeyOpens(record, parsed.key, clock.nowMs()) ? record.owner : undefined
      const owner = opens(remembered(parsed.publicId)) ?? opens(await lookUp(parsed.publicId))
      if (owner === undefined) throw new AppError('UNAUTHORIZED')
      return owner
    },
  }
}
