import { recordOf, type ServiceName, serviceNames } from '@avatar/contracts'
import { systemClock as clock, type SmallDisk } from '@avatar/service-kit'
import { childrenOf, signalIfThere } from '../process-table.ts'
import type { Stack } from '../stack/start-stack.ts'
import type { BrokerEdge } from './broker-edge.ts'
import type { ClockSteps } from './clock-steps.ts'
import {
  type ChaosPlan,
  type Fault,
  type FaultKind,
  processFaults,
  type SmallDiskName,
  type Victim,
} from './plan.ts'
import type { StoreEdge } from './store-edge.ts'

/** What faults act on. What is undefined cannot be done on this machine. */
export type Targets = {
  stack: Stack
  toBroker: Readonly<Record<ServiceName, BrokerEdge>>
  toStore: StoreEdge
  clockSteps: ClockSteps | undefined
  disks: Readonly<Partial<Record<SmallDiskName, SmallDisk>>>
}

/** A fault that happened, by this machine's clock. */
export type Injected = { kind: FaultKind; fromMs: number; untilMs: number }

const notThere = 'the process was just being started again'
export const leftOutBecause: Readonly<Partial<Record<FaultKind, string>>> = {
  ...{ kill: notThere, terminate: notThere, suspend: notThere },
  'clock-step': 'libfaketime is not installed (apt-get install libfaketime)',
  'disk-full': 'only root may mount the small disks',
}

/**
 * Lets every fault of the plan happen at its time. Two of a kind may overlap: the first that ends then
 * ends both, and the plan is the same at every run.
 *
 * @returns what happened, once the last fault is over
 */
export async function injectFaults(
  plan: ChaosPlan,
  targets: Targets,
  signal: AbortSignal,
): Promise<Injected[]> {
  const startedAtMs = clock.monotonicMs()
  const injected: Injected[] = []

  async function happen(fault: Fault) {
    await clock.wait(fault.atMs - (clock.monotonicMs() - startedAtMs), signal)
    if (signal.aborted) return
    const fromMs = clock.nowMs()
    const heal = await begin(fault, targets)
    if (!heal) return
    await clock.wait(fault.forMs, signal)
    await heal()
    injected.push({ kind: fault.kind, fromMs, untilMs: clock.nowMs() })
  }

  await Promise.all(plan.faults.map(happen))
  return injected
}

type Heal = () => Promise<void> | void
const nothingToHeal: Heal = () => undefined

/** @returns what ends it; undefined where it cannot be done */
async function begin(fault: Fault, targets: Targets): Promise<Heal | undefined> {
  const { stack, toBroker, toStore, clockSteps, disks } = targets
  switch (fault.kind) {
    case 'kill':
    case 'terminate':
      return (await signalVictim(stack, fault.victim, processFaults[fault.kind]))
        ? nothingToHeal
        : undefined
    case 'suspend':
      return (await signalVictim(stack, fault.victim, processFaults.suspend))
        ? async () => void (await signalVictim(stack, fault.victim, 'SIGCONT'))
        : undefined
    case 'broker-cut':
    case 'broker-half-open':
    case 'broker-delay':
      toBroker[fault.victim].misbehave(fault.kind)
      return () => toBroker[fault.victim].heal()
    case 'store-errors':
    case 'store-busy':
    case 'store-resets':
    case 'store-stalls':
    case 'store-truncates':
      toStore.misbehave(fault.kind, fault.percent)
      return () => toStore.heal()
    case 'clock-step':
      await clockSteps?.setAhead(fault.aheadSeconds)
      return clockSteps && (() => clockSteps.setAhead(0))
    case 'disk-full': {
      const disk = disks[fault.disk]
      await disk?.fill()
      return disk && (() => disk.makeRoom())
    }
  }
}

/** @returns whether there was anything to signal */
async function signalVictim(
  stack: Stack,
  victim: Victim,
  signal: NodeJS.Signals,
): Promise<boolean> {
  const pid = stack.pidOf(victim === 'render' ? 'sidecar' : victim)
  if (pid === undefined) return false
  if (victim !== 'render') {
    stack.signal(victim, signal)
    return true
  }
  const children = await childrenOf(pid)
  for (const child of children) signalIfThere(child, signal)
  return children.length > 0
}

/** One edge for each service. */
export async function openEdges(
  start: () => Promise<BrokerEdge>,
): Promise<Record<ServiceName, BrokerEdge>> {
  const edges = new Map<ServiceName, BrokerEdge>()
  for (const name of serviceNames) edges.set(name, await start())
  return recordOf(serviceNames, (name) => {
    const edge = edges.get(name)
    if (!edge) throw new Error(`${name} has no edge`)
    return edge
  })
}
