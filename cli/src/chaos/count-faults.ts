import { leftOutBecause } from './inject-faults.ts'
import type { ChaosPlan, FaultKind } from './plan.ts'

/** How many faults of a kind happened, and how many could not be made, and why. */
export type FaultCount = { kind: FaultKind; done: number; missing: number; why: string }

/** Of each kind that was planned. */
export function countFaults(run: {
  plan: Pick<ChaosPlan, 'faults'>
  injected: readonly { kind: FaultKind }[]
}): FaultCount[] {
  const planned = Map.groupBy(run.plan.faults, ({ kind }) => kind)
  return [...planned].map(([kind, those]) => {
    const done = run.injected.filter((fault) => fault.kind === kind).length
    return { kind, done, missing: those.length - done, why: leftOutBecause[kind] ?? '' }
  })
}

/** Kinds that were asked for by name and never happened: a run without them shows nothing about them. */
export function leftOutWhole(
  counts: readonly FaultCount[],
  only: readonly FaultKind[] = [],
): FaultCount[] {
  return counts.filter(({ kind, done }) => done === 0 && only.includes(kind))
}
