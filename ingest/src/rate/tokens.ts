import { buckets, decide, type Rate, type RateDecision, type RateState } from '@avatar/contracts'
import {
  asAppError,
  type Foundation,
  inTime,
  logFailure,
  type PublishTrouble,
  type RecordStore,
  sharedFor,
  troubleOf,
} from '@avatar/service-kit'
import { LRUCache } from 'lru-cache'

/** A decision, and whether this replica made it alone because the broker does not answer. */
export type Taken = RateDecision & { readonly isBrokerAway: boolean }

/** Takes tokens from buckets that all replicas share. */
export type Tokens = ReturnType<typeof createTokens>

/** Why a decision was made by one replica alone. */
const aloneReasons = {
  timeout: 'away',
  disconnected: 'away',
  no_responders: 'lost',
  full: 'full',
  other: 'other',
} as const satisfies Record<PublishTrouble, string>
type AloneReason = (typeof aloneReasons)[PublishTrouble] | 'contended'

/** The broker answers within a millisecond or two. */
const answerWithinMs = 250
/** A writer that loses to the other replicas for this long decides alone. */
const takeWithinMs = 1_000
/** Who has not called for longest is forgotten, and then costs one more look at the shared state. */
const rememberedBuckets = 20_000
const restoreEveryMs = 1_000
const sayEveryMs = 10_000

type Waiter = { readonly rate: Rate; readonly resolve: (taken: Taken) => void }

/** What this replica knows of a bucket. */
type Known = {
  tatMs: number
  revision: number
  /** They ride on the next write. */
  waiting: Waiter[]
  isServed: boolean
  /** A write or a look is overdue, and until it ends nothing else is tried. */
  isOverdue: boolean
}

/**
 * The state of a bucket is one value in KV `rate`, changed by compare-and-set from the revision that this
 * replica remembers. At most one write of a bucket is under way, and whoever comes meanwhile rides on the
 * next: one write takes many tokens.
 *
 * Without the broker, or without its bucket, this replica decides by what it remembers. What it remembers
 * is never above the truth, so a refusal by it is right and asks nobody.
 */
export function createTokens(
  deps: Pick<Foundation, 'bus' | 'clock' | 'log' | 'metrics'> & { records: RecordStore<RateState> },
) {
  const { bus, clock, log, metrics, records } = deps
  const remembered = new LRUCache<string, Known>({ max: rememberedBuckets })
  const { rate_decided_alone_total: alone, rate_bucket_restores_total: restored } =
    metrics.of('ingest')
  /** Whether the bucket is there again: a broker that restarts has lost what is in memory. */
  const restore = sharedFor(clock, restoreEveryMs, async () => {
    try {
      if ((await inTime(clock, answerWithinMs, bus.restoreBucket(buckets.rate))) === 'late')
        return false
      restored.add(1)
      log.warn({ bucket: buckets.rate.name }, 'bucket was lost and is made again')
      return true
    } catch (error) {
      say(error, 'lost')
      return false
    }
  })
  let sayAtMs = 0

  function knownOf(key: string): Known {
    const found = remembered.get(key)
    if (found) return found
    const known = { tatMs: 0, revision: 0, waiting: [], isServed: false, isOverdue: false }
    remembered.set(key, known)
    return known
  }

  async function serve(key: string, known: Known) {
    if (known.isServed) return
    known.isServed = true
    while (known.waiting.length > 0) await serveTogether(key, known, known.waiting.splice(0))
    known.isServed = false
  }

  async function serveTogether(key: string, known: Known, waiters: readonly Waiter[]) {
    const share = () => takeShared(key, known, waiters)
    try {
      await share().catch(async (error) => {
        if (troubleOf(error) !== 'no_responders' || !(await restore())) throw error
        await share()
      })
    } catch (error) {
      if (error === overdue) return // They have been answered.
      const reason = aloneReasons[troubleOf(error)]
      say(error, reason)
      decideAlone(known, waiters, reason)
    }
  }

  /** @throws AppError BROKER_UNAVAILABLE before anybody is answered, or `overdue` when all are */
  async function takeShared(key: string, known: Known, waiters: readonly Waiter[]) {
    const untilMs = clock.monotonicMs() + takeWithinMs
    while (clock.monotonicMs() < untilMs) {
      const { decisions, tatMs } = decideAll(known.tatMs, waiters)
      const isChanged = decisions.some(({ isLetIn }) => isLetIn)
      const written = isChanged
        ? await answered(known, waiters, records.update(key, { tatMs }, known.revision))
        : known.revision
      if (written !== 'conflict') {
        Object.assign(known, { tatMs, revision: written })
        return settle(waiters, decisions, false)
      }
      const found = await answered(known, waiters, records.find(key))
      known.revision = found?.revision ?? 0
      // A value that is gone leaves what is remembered: its loss gives nothing to who is known.
      known.tatMs = Math.max(known.tatMs, found?.value.tatMs ?? 0)
    }
    decideAlone(known, waiters, 'contended')
  }

  /** What the broker answers. Once that is overdue, everybody is served without it, until it comes. */
  async function answered<T>(
    known: Known,
    waiters: readonly Waiter[],
    work: Promise<T>,
  ): Promise<T> {
    const answer = await inTime(clock, answerWithinMs, work)
    if (answer !== 'late') return answer as T // A result of these calls is never `late`.
    known.isOverdue = true
    decideAlone(known, [...waiters, ...known.waiting.splice(0)], 'away')
    await work.catch((error) => say(error, 'away'))
    known.isOverdue = false
    throw overdue
  }

  function decideAll(tatMs: number, waiters: readonly Waiter[]) {
    const nowMs = clock.nowMs()
    const decisions: RateDecision[] = []
    let nextMs = tatMs
    for (const { rate } of waiters) {
      const decision = decide(nextMs, nowMs, rate)
      decisions.push(decision)
      nextMs = decision.tatMs
    }
    return { decisions, tatMs: nextMs }
  }

  function decideAlone(known: Known, waiters: readonly Waiter[], reason: AloneReason) {
    const { decisions, tatMs } = decideAll(known.tatMs, waiters)
    known.tatMs = tatMs
    alone.add(waiters.length, { reason })
    settle(waiters, decisions, reason === 'away')
  }

  /** One line now and then, however many requests there are. */
  function say(error: unknown, reason: string) {
    const nowMs = clock.monotonicMs()
    if (nowMs < sayAtMs) return
    sayAtMs = nowMs + sayEveryMs
    logFailure(log, asAppError(error), 'rates are decided by this replica alone', { reason })
  }

  return {
    /** What the next call would be told, by what this replica remembers. Takes nothing. */
    look: (key: string, rate: Rate): RateDecision =>
      decide(remembered.get(key)?.tatMs ?? 0, clock.nowMs(), rate),

    /** Takes a token if there is one. Never throws, and answers within a second or so. */
    async take(key: string, rate: Rate): Promise<Taken> {
      const known = knownOf(key)
      const decision = decide(known.tatMs, clock.nowMs(), rate)
      if (!decision.isLetIn) return { ...decision, isBrokerAway: false }
      return new Promise((resolve) => {
        const waiter = { rate, resolve }
        if (known.isOverdue) return decideAlone(known, [waiter], 'away')
        known.waiting.push(waiter)
        void serve(key, known)
      })
    },
  }
}

/** Thrown once whoever waited has been answered. */
const overdue = new Error('the broker answered too late')

function settle(
  waiters: readonly Waiter[],
  decisions: readonly RateDecision[],
  isBrokerAway: boolean,
) {
  for (const [index, { resolve }] of waiters.entries()) {
    const decision = decisions[index]
    if (decision) resolve({ ...decision, isBrokerAway })
  }
}
