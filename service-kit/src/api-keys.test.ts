import { apiKeyPattern } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'
import { apiKeyOpens, formatApiKey, hashApiKey, parseApiKey, randomBase62 } from './api-keys.ts'

const key = formatApiKey('Ab0123456789', 'x'.repeat(32))
const record = {
  publicId: 'Ab0123456789',
  owner: 'o_0123456789ab',
  name: 'test',
  createdAtMs: 0,
  secrets: [{ sha256: hashApiKey(key), lastFour: key.slice(-4), createdAtMs: 0 }],
}

describe('API keys', () => {
  it('have the form that the contracts define', () => {
    for (let i = 0; i < 100; i++)
      expect(formatApiKey(randomBase62(12), randomBase62(32))).toMatch(apiKeyPattern)
  })

  it('parse back to their public id', () => {
    expect(parseApiKey(key)).toEqual({ publicId: 'Ab0123456789', key })
  })

  it('are refused without a look-up when one character is wrong', () => {
    for (let at = 9; at < key.length; at++) {
      const wrong = `${key.slice(0, at)}${key[at] === 'q' ? 'r' : 'q'}${key.slice(at + 1)}`
      expect(parseApiKey(wrong), wrong).toBeUndefined()
    }
  })

  it('open their record, unless it is revoked or the secret has expired', () => {
    expect(apiKeyOpens(record, key, 5)).toBe(true)
    expect(apiKeyOpens(record, formatApiKey('Ab0123456789', 'y'.repeat(32)), 5)).toBe(false)
    expect(apiKeyOpens({ ...record, revokedAtMs: 4 }, key, 5)).toBe(false)
    const rotated = { ...record, secrets: record.secrets.map((s) => ({ ...s, notAfterMs: 5 })) }
    expect(apiKeyOpens(rotated, key, 4)).toBe(true)
    expect(apiKeyOpens(rotated, key, 5)).toBe(false)
  })
})
