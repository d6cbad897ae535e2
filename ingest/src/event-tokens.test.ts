import { type ApiKeyRecord, scaledTimings } from '@avatar/contracts'
import { hashApiKey, systemClock } from '@avatar/service-kit'
import { beforeEach, describe, expect, it } from 'vitest'
import type { ApiKeys } from './api-keys.ts'
import { createEventTokens } from './event-tokens.ts'

const publicId = 'Ab0123456789'
const owner = 'o_0123456789ab'
const jobId = '11111111-1111-4111-8111-111111111111'
const otherJobId = '22222222-2222-4222-8222-222222222222'
const timings = scaledTimings(1)
const secretOf = (text: string) => ({ sha256: hashApiKey(text), lastFour: 'xxxx', createdAtMs: 0 })

let nowMs = 0
let key: ApiKeyRecord
let tokens: ReturnType<typeof createEventTokens>

const recordIf: ApiKeys['recordIf'] = async (id, passes) =>
  id === publicId && passes(key) ? key : undefined

beforeEach(() => {
  nowMs = 1_700_000_000_000
  key = { publicId, owner, name: 'test', createdAtMs: 0, secrets: [secretOf('first')] }
  tokens = createEventTokens({
    ...{ apiKeys: { recordIf }, clock: { ...systemClock, nowMs: () => nowMs }, timings },
  })
})

const refused = (problem: string) => ({
  code: 'UNAUTHORIZED',
  message: expect.stringContaining(problem),
  details: { field: 'token', problem },
})

describe('an event token', () => {
  it('leads to the owner of its key, until it expires', async () => {
    const { token, expiresAtMs } = tokens.issue(key, jobId)
    expect(expiresAtMs).toBe(nowMs + timings.eventTokenMs)
    expect(await tokens.ownerOf(token, jobId, expiresAtMs - 1)).toBe(owner)
    await expect(tokens.ownerOf(token, jobId, expiresAtMs)).rejects.toMatchObject(
      refused('expired'),
    )
  })

  it('is not valid for another job, and not when anything of it is altered', async () => {
    const { token, expiresAtMs } = tokens.issue(key, jobId)
    await expect(tokens.ownerOf(token, otherJobId, nowMs)).rejects.toMatchObject(
      refused('not valid for this job'),
    )
    const later = token.replace(String(expiresAtMs), String(expiresAtMs + 1))
    const another = token.replace(publicId, 'Zz0123456789')
    const signed = token.replace(/.$/, (last) => (last === 'A' ? 'Q' : 'A'))
    for (const forged of [later, another, signed, `${token}A`, token.slice(0, -1), '', 'x'])
      await expect(tokens.ownerOf(forged, jobId, nowMs), forged).rejects.toMatchObject(
        refused('not valid for this job'),
      )
  })

  it('ends with its key, and with the secret that signed it', async () => {
    const { token } = tokens.issue(key, jobId)
    key = { ...key, secrets: [secretOf('second'), { ...secretOf('first'), notAfterMs: nowMs + 5 }] }
    expect(await tokens.ownerOf(token, jobId, nowMs)).toBe(owner)
    const fresh = tokens.issue(key, jobId).token
    nowMs += 5
    await expect(tokens.ownerOf(token, jobId, nowMs)).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
    })
    expect(await tokens.ownerOf(fresh, jobId, nowMs)).toBe(owner)
    key = { ...key, revokedAtMs: nowMs }
    await expect(tokens.ownerOf(fresh, jobId, nowMs)).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
    })
    expect(() => tokens.issue(key, jobId)).toThrow(
      expect.objectContaining({ code: 'UNAUTHORIZED' }),
    )
  })
})
