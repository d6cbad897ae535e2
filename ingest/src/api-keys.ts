import type { IncomingHttpHeaders } from 'node:http'
import type { ApiKeyRecord, Timings } from '@avatar/contracts'
import {
  AppError,
  apiKeyOpens,
  type Clock,
  parseApiKey,
  type RecordStore,
} from '@avatar/service-kit'
import { fieldRefused } from './field-refused.ts'

/**
 * What `ownerOf` takes: the Authorization header, or the key of X-API-Key in its form. A Basic
 * password beside X-API-Key is that of a proxy.
 *
 * @throws AppError UNAUTHORIZED when the two carry different keys
 */
export function authorizationOf(headers: IncomingHttpHeaders): string | undefined {
  const { authorization } = headers
  const key = headers['x-api-key']
  if (key === undefined) return authorization
  const [, bearer] = bearerPattern.exec(authorization ?? '') ?? []
  const isAlone = authorization === undefined || /^Basic ./i.test(authorization)
  if (isAlone || bearer === key) return `Bearer ${key}`
  const problem = 'differs from the key in Authorization; send one of the two'
  throw fieldRefused('X-API-Key', problem, { code: 'UNAUTHORIZED' })
}

/** The key of a request as it is shown at the door, and who looks it up. */
export function byKey(apiKeys: Pick<ApiKeys, 'ownerOf'>, headers: IncomingHttpHeaders) {
  return {
    credential: [headers.authorization, headers['x-api-key']].join(' '),
    ownerOf: async () => apiKeys.ownerOf(authorizationOf(headers)),
  }
}

const bearerPattern = /^Bearer +(\S+)$/i

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

  /** The key's record if it passes: the cached one, or else the stored one. */
  async function recordIf(
    publicId: string,
    passes: (record: ApiKeyRecord) => boolean,
  ): Promise<ApiKeyRecord | undefined> {
    const cached = cachedRecord(publicId)
    if (cached && passes(cached)) return cached
    const stored = await lookUp(publicId)
    return stored && passes(stored) ? stored : undefined
  }

  /** @throws AppError UNAUTHORIZED, the same for every reason; BROKER_UNAVAILABLE */
  async function recordOf(authorization: string | undefined): Promise<ApiKeyRecord> {
    const [, key] = bearerPattern.exec(authorization ?? '') ?? []
    const parsed = key === undefined ? undefined : parseApiKey(key)
    const record =
      parsed &&
      (await recordIf(parsed.publicId, (each) => apiKeyOpens(each, parsed.key, clock.nowMs())))
    if (!record) throw new AppError('UNAUTHORIZED')
    return record
  }

  return {
    recordIf,
    recordOf,
    /** @throws AppError UNAUTHORIZED, the same for every reason; BROKER_UNAVAILABLE */
    ownerOf: async (authorization: string | undefined) => (await recordOf(authorization)).owner,
  }
}
