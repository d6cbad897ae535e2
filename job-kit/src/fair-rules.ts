import {
  type FairRules,
  heldBackBy,
  limitsInForce,
  type OwnerLimits,
  type Timings,
} from '@avatar/contracts'
import type { Clock } from '@avatar/service-kit'
import type { LedgerReader } from './follow-ledger.ts'
import type { LimitsWatch } from './owner-limits.ts'

/**
 * The rules that follow from owners' limits. The orchestrator hands out jobs by them, and ingest tells
 * places by the same ones.
 */
export function fairRulesOf(deps: {
  timings: Pick<Timings, 'highHeadStartMs'>
  clock: Pick<Clock, 'nowMs'>
  /** For whoever has no limit of its own. */
  defaults: OwnerLimits
  limits: Pick<LimitsWatch, 'limitsOf'>
  ledger: Pick<LedgerReader, 'usage'>
}): FairRules {
  const { timings, clock, defaults, limits, ledger } = deps
  /** By the owner's own limits. Every look at the queue asks about many owners, most of whom have none. */
  const merged = new WeakMap<OwnerLimits, OwnerLimits>()

  function limitsOf(owner: string): OwnerLimits {
    const own = limits.limitsOf(owner)
    const known = merged.get(own)
    if (known) return known
    const inForce = limitsInForce(own, defaults)
    merged.set(own, inForce)
    return inForce
  }

  return {
    headStartSeconds: timings.highHeadStartMs / 1000,
    shareOf: (owner) => limitsOf(owner).share ?? 1,
    heldBack: (owner, running) =>
      heldBackBy(owner, limitsOf(owner), ledger.usage(), running, clock.nowMs()),
  }
}
