import { type OwnerLimits, type Rate, type RateDecision, secondsToFill } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { FastifyReply } from 'fastify'
import type { IngestConfig } from '../config.ts'

/** What a call takes a token of: `submit` for a new job, `read` for any other, `auth` for a failed key. */
export type Policy = 'submit' | 'read' | 'auth'

/** What the operator allows an owner instead of the defaults. */
export type LimitsOf = (owner: string) => OwnerLimits

type RateConfig = Pick<
  IngestConfig,
  | 'LIMIT_SUBMITS_PER_MINUTE'
  | 'LIMIT_SUBMIT_BURST'
  | 'LIMIT_READS_PER_MINUTE'
  | 'LIMIT_READ_BURST'
  | 'LIMIT_FAILED_KEYS_PER_MINUTE'
  | 'LIMIT_FAILED_KEY_BURST'
>

/** The rates of owners and addresses. */
export type Rates = ReturnType<typeof createRates>

export function createRates({ config, limitsOf }: { config: RateConfig; limitsOf: LimitsOf }) {
  return {
    submit(owner: string): Rate {
      const { submitsPerMinute, submitBurst } = limitsOf(owner)
      return {
        perMinute: submitsPerMinute ?? config.LIMIT_SUBMITS_PER_MINUTE,
        burst: submitBurst ?? config.LIMIT_SUBMIT_BURST,
      }
    },
    read(owner: string): Rate {
      const { readsPerMinute, readBurst } = limitsOf(owner)
      return {
        perMinute: readsPerMinute ?? config.LIMIT_READS_PER_MINUTE,
        burst: readBurst ?? config.LIMIT_READ_BURST,
      }
    },
    /** Of an address. */
    auth: {
      perMinute: config.LIMIT_FAILED_KEYS_PER_MINUTE,
      burst: config.LIMIT_FAILED_KEY_BURST,
    } satisfies Rate,
  }
}

/**
 * The headers of draft-ietf-httpapi-ratelimit-headers: the bucket and the seconds to fill it; the tokens
 * left and the seconds until it is full, or, when none is left for this call, until the next one.
 */
export function writeRateHeaders(
  reply: FastifyReply,
  policy: Policy,
  rate: Rate,
  { isLetIn, remaining, fullInSeconds, nextInSeconds }: RateDecision,
) {
  const seconds = isLetIn ? fullInSeconds : nextInSeconds
  reply.header('ratelimit-policy', `"${policy}";q=${rate.burst};w=${secondsToFill(rate)}`)
  reply.header('ratelimit', `"${policy}";r=${remaining};t=${seconds}`)
}

/** The refusal of a call that found no token. */
export function tooManyRequests(policy: Policy, rate: Rate, decision: RateDecision): AppError {
  return new AppError('TOO_MANY_REQUESTS', {
    details: { policy, per_minute: rate.perMinute, burst: rate.burst },
    retryAfterMs: decision.nextInSeconds * 1000,
    ...(policy === 'auth' ? { message: tooManyFailedKeys } : {}),
  })
}

const tooManyFailedKeys =
  'Too many requests from this address came without a valid API key; send one, after Retry-After.'
