import { createHash, randomInt, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { type ApiKeyRecord, apiKeyPattern } from '@avatar/contracts'

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const checksumLength = 6

/** A well-formed API key: the id to look it up by, and the whole key to hash. */
export type ParsedApiKey = { publicId: string; key: string }

/** Random base62 characters from the system's generator, unbiased. */
export function randomBase62(length: number): string {
  return Array.from({ length }, () => alphabet.charAt(randomInt(alphabet.length))).join('')
}

/** The key of a public id and 32 secret characters, checksum appended. */
export function formatApiKey(publicId: string, secret: string): string {
  const body = `ava_live_${publicId}_${secret}`
  return body + checksumOf(body)
}

/**
 * The parts of a key, or undefined when its form or its checksum is wrong. That refuses a mistyped
 * key without a look-up.
 */
export function parseApiKey(key: string): ParsedApiKey | undefined {
  const [, publicId] = apiKeyPattern.exec(key) ?? []
  if (publicId === undefined) return undefined
  if (checksumOf(key.slice(0, -checksumLength)) !== key.slice(-checksumLength)) return undefined
  return { publicId, key }
}

/** The SHA-256 of the whole key in hex: all that is stored of it. */
export function hashApiKey(key: string): string {
  return createHash('sha256').update(key).digest('hex')
}

/** Whether a key opens the record now: it is not revoked, and its secret is known and has not expired. */
export function apiKeyOpens(record: ApiKeyRecord, key: string, nowMs: number): boolean {
  if (record.revokedAtMs !== undefined) return false
  const hash = Buffer.from(hashApiKey(key), 'hex')
  return record.secrets.some(
    (secret) =>
      timingSafeEqual(Buffer.from(secret.sha256, 'hex'), hash) &&
      (secret.notAfterMs === undefined || nowMs < secret.notAfterMs),
  )
}

/** Base62 of the CRC32, left-padded: the largest CRC32 has six digits. */
function checksumOf(text: string): string {
  let rest = crc32(text)
  let digits = ''
  for (let i = 0; i < checksumLength; i++) {
    digits = alphabet.charAt(rest % alphabet.length) + digits
    rest = Math.floor(rest / alphabet.length)
  }
  return digits
}
