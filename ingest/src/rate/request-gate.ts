import { createHash } from 'node:crypto'
import { AppError, type Foundation } from '@avatar/service-kit'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import { addressKey } from './address-key.ts'
import { type Rates, tooManyRequests, writeRateHeaders } from './policies.ts'
import type { Tokens } from './tokens.ts'

/** Who is let in, by address, key and rate. */
export type RequestGate = ReturnType<typeof createRequestGate>

/** How long a customer gets in by a good key while others fail from the same address. */
const knownForMs = 600_000
const knownCredentials = 10_000

/**
 * The checks of a request with a key that cost nothing but a look: before its body, a refusal by what this
 * replica remembers asks nobody.
 */
export function createRequestGate(
  deps: Pick<Foundation, 'clock' | 'metrics'> & { tokens: Tokens; rates: Rates },
) {
  const { clock, tokens, rates } = deps
  const { rate_refusals_total: refused } = deps.metrics.of('ingest')
  /** Hashes of what opened the door here a moment ago. */
  const good = new LRUCache<string, true>({
    max: knownCredentials,
    ttl: knownForMs,
    perf: { now: () => clock.monotonicMs() },
  })

  /** The owner, unless too many keys from this address were not valid. Each of those takes a token. */
  async function authenticate(
    request: FastifyRequest,
    reply: FastifyReply,
    credential: string,
    ownerOf: () => Promise<string>,
  ): Promise<string> {
    const address = addressKey(request.ip)
    const hash = createHash('sha256').update(credential).digest('base64')
    const refuse = (decision: ReturnType<Tokens['look']>) => {
      refused.add(1, { policy: 'auth' })
      writeRateHeaders(reply, 'auth', rates.auth, decision)
      return tooManyRequests('auth', rates.auth, decision)
    }
    const seen = tokens.look(address, rates.auth)
    if (!seen.isLetIn && !good.has(hash)) throw refuse(seen)
    try {
      const owner = await ownerOf()
      good.set(hash, true)
      return owner
    } catch (error) {
      if (!(error instanceof AppError && error.code === 'UNAUTHORIZED')) throw error
      good.delete(hash)
      const taken = await tokens.take(address, rates.auth)
      throw taken.isLetIn ? error : refuse(taken)
    }
  }

  return {
    /**
     * The owner of a request that may go on, whose answer then tells its rate. `credential` is what the
     * client shows, whether valid or not, and `ownerOf` looks it up.
     *
     * @throws AppError UNAUTHORIZED, TOO_MANY_REQUESTS, BROKER_UNAVAILABLE
     */
    async pass(
      request: FastifyRequest,
      reply: FastifyReply,
      { credential, ownerOf }: { credential: string; ownerOf: () => Promise<string> },
    ): Promise<string> {
      const owner = await authenticate(request, reply, credential, ownerOf)
      const { isSubmit = false } = request.routeOptions.config
      const policy = isSubmit ? 'submit' : 'read'
      const rate = rates[policy](owner)
      const taken = await tokens.take(`${owner}.${policy}`, rate)
      // Without the broker no job could be created either.
      if (isSubmit && taken.isBrokerAway) throw new AppError('BROKER_UNAVAILABLE')
      writeRateHeaders(reply, policy, rate, taken)
      if (taken.isLetIn) return owner
      refused.add(1, { policy })
      throw tooManyRequests(policy, rate, taken)
    },
  }
}
