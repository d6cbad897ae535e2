import { createHmac, timingSafeEqual } from 'node:crypto'
import type { ApiKeyRecord, Timings } from '@avatar/contracts'
import { AppError, type Clock } from '@avatar/service-kit'
import type { ApiKeys } from './api-keys.ts'

/** Tokens by which a client that can send no header, such as `EventSource`, follows one job. */
export type EventTokens = ReturnType<typeof createEventTokens>

const tokenPattern = /^ava_evt_([0-9A-Za-z]{12})_(\d{1,15})_([0-9A-Za-z_-]{43})$/

/**
 * A token names an API key and an expiry, and is signed for one job with the stored hash of the key's
 * secret. All replicas share that hash, it cannot be guessed, and a token ends with its key.
 */
export function createEventTokens(deps: {
  apiKeys: Pick<ApiKeys, 'recordIf'>
  clock: Clock
  timings: Timings
}) {
  const { apiKeys, clock, timings } = deps

  return {
    /** A token of this key. @throws AppError UNAUTHORIZED when the key does not open any more */
    issue(record: ApiKeyRecord, jobId: string) {
      const expiresAtMs = Math.ceil(clock.nowMs() + timings.eventTokenMs)
      const [signature] = signaturesOf(record, jobId, expiresAtMs, clock.nowMs())
      if (!signature) throw new AppError('UNAUTHORIZED')
      const token = `ava_evt_${record.publicId}_${expiresAtMs}_${signature.toString('base64url')}`
      return { token, expiresAtMs }
    },

    /**
     * The owner of a token for this job. `atMs` is when the token was presented: a stream that was open
     * by then outlives it, but not its key.
     *
     * @throws AppError UNAUTHORIZED, BROKER_UNAVAILABLE
     */
    async ownerOf(token: string, jobId: string, atMs: number): Promise<string> {
      const [, publicId, expiry, text] = tokenPattern.exec(token) ?? []
      if (publicId === undefined || text === undefined) throw refused('not valid for this job')
      const expiresAtMs = Number(expiry)
      const given = Buffer.from(text, 'base64url')
      const isSigned = (record: ApiKeyRecord) =>
        signaturesOf(record, jobId, expiresAtMs, clock.nowMs()).some((signature) =>
          timingSafeEqual(signature, given),
        )
      const record = await apiKeys.recordIf(publicId, isSigned)
      if (!record) throw refused('not valid for this job')
      if (atMs >= expiresAtMs) throw refused('expired')
      return record.owner
    },
  }
}

function refused(problem: string): AppError {
  const message = `The token is ${problem}; make another one by POST /events/{job_id}/token.`
  return new AppError('UNAUTHORIZED', { message, details: { field: 'token', problem } })
}

/** The signature with each secret that opens the key now, the newest first. */
function signaturesOf(record: ApiKeyRecord, jobId: string, expiresAtMs: number, nowMs: number) {
  if (record.revokedAtMs !== undefined) return []
  return record.secrets
    .filter(({ notAfterMs }) => notAfterMs === undefined || nowMs < notAfterMs)
    .map(({ sha256 }) =>
      createHmac('sha256', Buffer.from(sha256, 'hex'))
        .update(['events', record.owner, jobId, expiresAtMs].join('\n'))
        .digest(),
    )
}
