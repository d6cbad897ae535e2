import { breadthOf, type JobRecord, type NextRequest } from '@avatar/contracts'

/** How an ask ends. `dropped`: nobody reads an answer any more. */
export type AskOutcome = { job: JobRecord } | 'none' | 'dropped'

/** A worker's ask that is not answered yet. */
export type HeldAsk = NextRequest & {
  /** Monotonic. */
  arrivedMs: number
  /** Of one GPU second in the worker's pool. */
  priceMicros: number
  settle: (outcome: AskOutcome) => void
  fail: (error: unknown) => void
}

/** The asks that wait for a job. Pure but for settling them: time is an argument, in monotonic ms. */
export function createHeldAsks(graceMs: number) {
  let asks: HeldAsk[] = []

  /** @returns false when it was not held any more: somebody else has settled it */
  function remove(ask: HeldAsk): boolean {
    const isHeld = asks.includes(ask)
    asks = asks.filter((other) => other !== ask)
    return isHeld
  }

  function settle(ask: HeldAsk, outcome: AskOutcome) {
    if (remove(ask)) ask.settle(outcome)
  }

  const latestOf = (ask: HeldAsk) => asks.find((other) => other.ask === ask.ask)

  const isAwaited = (ask: HeldAsk, nowMs: number) =>
    asks.includes(ask) && nowMs <= ask.arrivedMs + ask.waitMs + graceMs

  return {
    /** A worker that asks again reads no answer to the ask before. */
    add(ask: HeldAsk): void {
      for (const older of asks.filter((other) => other.ask === ask.ask)) settle(older, 'dropped')
      asks = [...asks, ask].sort(byTurn)
    },
    /** Whose turn it is first: idle workers, cheaper pools, who can do less, who has waited longest. */
    inOrder: (): readonly HeldAsk[] => asks,
    settle,
    /**
     * Gives the worker the job that was claimed for this ask. It may have asked again meanwhile, under the same
     * name: then it reads the answer to that, and would be given a second job.
     */
    give(ask: HeldAsk, job: JobRecord): void {
      const latest = latestOf(ask)
      if (latest) settle(latest, { job })
    },
    /** Whether a job is claimed for this ask is not known: the worker asks again, and is told. */
    fail(ask: HeldAsk, error: unknown): void {
      const latest = latestOf(ask)
      if (latest && remove(latest)) latest.fail(error)
    },
    settleAll(outcome: 'none' | 'dropped'): void {
      for (const ask of asks) settle(ask, outcome)
    },
    /** Whether the worker still waits for an answer. */
    isAwaited,
    /** Forgets the asks to which nobody reads an answer any more. */
    dropUnawaited(nowMs: number): void {
      for (const ask of asks) if (!isAwaited(ask, nowMs)) settle(ask, 'dropped')
    },
    /** Answers those that are not parked, after no job was found for them. A busy worker never is. */
    settleUnparked(nowMs: number): void {
      for (const ask of asks)
        if (!ask.isIdle || nowMs >= ask.arrivedMs + ask.waitMs) settle(ask, 'none')
    },
    /** When the next ask has waited as long as it wanted to; `Infinity` without any. */
    nextOverMs: (): number => Math.min(...asks.map((ask) => ask.arrivedMs + ask.waitMs)),
  }
}

export type HeldAsks = ReturnType<typeof createHeldAsks>

function byTurn(a: HeldAsk, b: HeldAsk): number {
  if (a.isIdle !== b.isIdle) return a.isIdle ? -1 : 1
  if (a.priceMicros !== b.priceMicros) return a.priceMicros - b.priceMicros
  // Else a job that all could do might take the only worker for the next one.
  const breadth = breadthOf(a.offers) - breadthOf(b.offers)
  if (breadth !== 0) return breadth
  return a.arrivedMs - b.arrivedMs
}
