import type { ApiKeyRecord } from '@avatar/contracts'
import { scaledTimings } from '@avatar/contracts'
import {
  formatApiKey,
  hashApiKey,
  type RecordStore,
  randomBase62,
  systemClock,
} from '@avatar/service-kit'
import { beforeEach, describe, expect, it } from 'vitest'
import { authorizationOf, createApiKeys } from './api-keys.ts'

const publicId = 'Ab0123456789'
const owner = 'o_0123456789ab'
const timings = scaledTimings(1)

let nowMs = 0
let reads = 0
let stored: Map<string, ApiKeyRecord>

/** A store that counts its look-ups. */
const records = {
  find: async (id: string) => {
    reads++
    const value = stored.get(id)
    return value && { value, revision: 1 }
  },
} as RecordStore<ApiKeyRecord>

const clock = { ...systemClock, nowMs: () => nowMs, monotonicMs: () => nowMs }
let keys: ReturnType<typeof createApiKeys>

function aSecret(notAfterMs?: number) {
  const key = formatApiKey(publicId, randomBase62(32))
  const secret = { sha256: hashApiKey(key), lastFour: key.slice(-4), createdAtMs: 0 }
  return { key, secret: notAfterMs === undefined ? secret : { ...secret, notAfterMs } }
}

const aRecord = (...secrets: ApiKeyRecord['secrets']): ApiKeyRecord => ({
  ...{ publicId, owner, name: 'test', createdAtMs: 0 },
  secrets,
})

beforeEach(() => {
  nowMs = 1_000
  reads = 0
  stored = new Map()
  keys = createApiKeys({ records, clock, timings })
})

const refused = { code: 'UNAUTHORIZED' }

describe('the credentials of a request', () => {
  it.each([
    ['Authorization', { authorization: 'Bearer a' }, 'Bearer a'],
    ['X-API-Key', { 'x-api-key': 'a' }, 'Bearer a'],
    ['both with one key', { authorization: 'bearer  a', 'x-api-key': 'a' }, 'Bearer a'],
    ['a password for a proxy', { authorization: 'Basic x', 'x-api-key': 'a' }, 'Bearer a'],
    ['none', {}, undefined],
  ])('are taken from %s', (_what, headers, expected) => {
    expect(authorizationOf(headers)).toBe(expected)
  })

  it.each(['Bearer b', 'Bearer', '', 'a', 'Basic', 'Digest a', 'Bearer a b'])(
    'are refused when Authorization is “%s” and X-API-Key another key',
    (authorization) => {
      expect(() => authorizationOf({ authorization, 'x-api-key': 'a' })).toThrow(
        'X-API-Key: differs',
      )
    },
  )
})

describe('an API key', () => {
  it('leads to its owner, and is read from the store again when the cache expires', async () => {
    const { key, secret } = aSecret()
    stored.set(publicId, aRecord(secret))
    for (let i = 0; i < 3; i++) expect(await keys.ownerOf(`Bearer ${key}`)).toBe(owner)
    expect(reads).toBe(1)
    nowMs += timings.apiKeyCacheMs
    expect(await keys.ownerOf(`bearer  ${key}`)).toBe(owner)
    expect(reads).toBe(2)
  })

  it.each([
    undefined,
    '',
    'Basic abc',
    'Bearer',
    'Bearer nonsense',
    `Bearer ava_live_${'x'.repeat(51)}`,
  ])('is refused without a look-up when it is malformed: %s', async (authorization) => {
    await expect(keys.ownerOf(authorization)).rejects.toMatchObject(refused)
    expect(reads).toBe(0)
  })

  it('is refused while it does not exist, and works as soon as it does', async () => {
    const { key, secret } = aSecret()
    await expect(keys.ownerOf(`Bearer ${key}`)).rejects.toMatchObject(refused)
    stored.set(publicId, aRecord(secret))
    expect(await keys.ownerOf(`Bearer ${key}`)).toBe(owner)
  })

  it('works at once after a rotation, and the old one until its end', async () => {
    const old = aSecret()
    stored.set(publicId, aRecord(old.secret))
    expect(await keys.ownerOf(`Bearer ${old.key}`)).toBe(owner)
    const fresh = aSecret()
    stored.set(publicId, aRecord(fresh.secret, { ...old.secret, notAfterMs: nowMs + 500 }))
    expect(await keys.ownerOf(`Bearer ${fresh.key}`)).toBe(owner)
    expect(await keys.ownerOf(`Bearer ${old.key}`)).toBe(owner)
    nowMs += 500
    await expect(keys.ownerOf(`Bearer ${old.key}`)).rejects.toMatchObject(refused)
    expect(await keys.ownerOf(`Bearer ${fresh.key}`)).toBe(owner)
  })

  it('is refused within five seconds of its revocation', async () => {
    const { key, secret } = aSecret()
    stored.set(publicId, aRecord(secret))
    await keys.ownerOf(`Bearer ${key}`)
    stored.set(publicId, { ...aRecord(secret), revokedAtMs: nowMs })
    expect(timings.apiKeyCacheMs).toBeLessThan(5_000)
    nowMs += timings.apiKeyCacheMs
    await expect(keys.ownerOf(`Bearer ${key}`)).rejects.toMatchObject(refused)
  })

  it('is cached in bounded memory', async () => {
    for (let i = 0; i <= 10_000; i++) {
      const id = String(i).padStart(12, '0')
      const key = formatApiKey(id, 'x'.repeat(32))
      const secret = { sha256: hashApiKey(key), lastFour: key.slice(-4), createdAtMs: 0 }
      stored.set(id, { ...aRecord(secret), publicId: id })
      await keys.ownerOf(`Bearer ${key}`)
    }
    const first = formatApiKey('0'.repeat(12), 'x'.repeat(32))
    await keys.ownerOf(`Bearer ${first}`)
    expect(reads).toBe(10_002)
  })
})
