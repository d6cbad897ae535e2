import {
  type ProcessName,
  processNames,
  type ServiceName,
  serviceNames,
  services,
} from '@avatar/contracts'
import { pick, type Random, seededRandom } from '@avatar/service-kit'

/** What can be signalled: every process of `avatar up`, and the sidecar's render process. */
export type Victim = ProcessName | 'render'

/** Whose clock a library can move. */
const onNode = serviceNames.filter((name) => services[name].kind === 'node')

/** Disks of their own, small enough to be filled. */
export const smallDisks = ['ingest', 'sidecar', 'nats'] as const
export type SmallDiskName = (typeof smallDisks)[number]

export const processFaults = { kill: 'SIGKILL', terminate: 'SIGTERM', suspend: 'SIGSTOP' } as const
export const brokerFaults = ['broker-cut', 'broker-half-open', 'broker-delay'] as const
export type BrokerFault = (typeof brokerFaults)[number]
/** How the store misbehaves, and which part of its answers, in percent, does. */
export const storeFaults = {
  'store-errors': 30,
  'store-busy': 60,
  'store-resets': 5,
  'store-stalls': 20,
  'store-truncates': 30,
} as const
export type StoreFault = keyof typeof storeFaults

/** One fault. It lasts for `forMs`, 0 for one that is over at once. */
export type Fault = {
  /** Since the start of the run. */
  readonly atMs: number
  readonly forMs: number
} & (
  | { readonly kind: keyof typeof processFaults; readonly victim: Victim }
  | { readonly kind: BrokerFault; readonly victim: ServiceName }
  | { readonly kind: StoreFault; readonly percent: number }
  | { readonly kind: 'clock-step'; readonly aheadSeconds: number }
  | { readonly kind: 'disk-full'; readonly disk: SmallDiskName }
)
export type FaultKind = Fault['kind']

/** Every kind of fault. */
export const faultKinds: readonly FaultKind[] = [
  ...(['kill', 'terminate', 'suspend'] as const),
  ...brokerFaults,
  ...entriesOf(storeFaults).map(([kind]) => kind),
  ...(['clock-step', 'disk-full'] as const),
]

/** One job, and what its client does. */
export type PlannedJob = {
  readonly atMs: number
  /** Its idempotency key. */
  readonly name: string
  /** The number of its key. At the event door there is one publisher. */
  readonly owner: number
  readonly door: 'rest' | 'event'
  readonly prompt: string
  /** How many times the same request is sent at once. */
  readonly copies: number
  /** How long after its acceptance it is cancelled; undefined for never. */
  readonly cancelAfterMs: number | undefined
}

export type ChaosPlan = {
  readonly seed: number
  readonly durationMs: number
  readonly faults: readonly Fault[]
  readonly jobs: readonly PlannedJob[]
  /** The service whose clock is stepped. */
  readonly clockVictim: ServiceName
}

/** Unless somebody asks for more. */
export const usualJobsPerMinute = 24
/** A render of theirs takes less than this. */
const usualLongestMs = 2_000
/** How many keys submit jobs. */
export const owners = 3

const minuteMs = 60_000
/** Faults begin after the first jobs, and end before the run does. */
const calmMs = 2_000
const shortestGapMs = 500
const gapRangeMs = 2_500
const longestFaultMs = 6_000
const clockSteps = [-86_400, -300, 300, 86_400] as const

type Draw = { kind: FaultKind; draw: (random: Random) => WithoutTimes<Fault> }
type WithoutTimes<F> = F extends Fault ? Omit<F, 'atMs' | 'forMs'> & { lasts: boolean } : never

/** One of each: a run of a minute meets nearly all of them, a longer one all, again and again. */
const deck: readonly Draw[] = [
  ...(['kill', 'terminate', 'suspend'] as const).flatMap((kind) =>
    victimsOf(kind).map(
      (victim): Draw => ({ kind, draw: () => ({ kind, victim, lasts: kind === 'suspend' }) }),
    ),
  ),
  ...brokerFaults.map(
    (kind): Draw => ({
      kind,
      draw: (random) => ({ kind, victim: pick(serviceNames, random), lasts: true }),
    }),
  ),
  ...entriesOf(storeFaults).map(
    ([kind, percent]): Draw => ({ kind, draw: () => ({ kind, percent, lasts: true }) }),
  ),
  {
    kind: 'clock-step',
    draw: (random) => ({
      kind: 'clock-step',
      aheadSeconds: pick(clockSteps, random),
      lasts: true,
    }),
  },
  ...smallDisks.map(
    (disk): Draw => ({
      kind: 'disk-full',
      draw: () => ({ kind: 'disk-full', disk, lasts: true }),
    }),
  ),
]

/**
 * Everything that a run does to its system, and when. A pure function: the same seed and the same time give
 * the same plan on every machine. What a machine cannot do is planned all the same, and left out there.
 *
 * @param only the kinds of faults that are drawn
 */
export function planChaos(
  seed: number,
  minutes: number,
  only: readonly FaultKind[] = faultKinds,
  jobsPerMinute = usualJobsPerMinute,
): ChaosPlan {
  const durationMs = minutes * minuteMs
  const random = seededRandom(seed)
  const clockVictim = pick(onNode, random)
  // One worker renders all of them, and has as much work whatever their number.
  const longestMs = Math.round(usualLongestMs * Math.min(1, usualJobsPerMinute / jobsPerMinute))
  const count = Math.max(1, Math.round(jobsPerMinute * minutes))
  const jobs = planJobs({ count, durationMs, longestMs }, random)
  return { seed, durationMs, clockVictim, jobs, faults: planFaults(durationMs, only, random) }
}

function planFaults(durationMs: number, only: readonly FaultKind[], random: Random): Fault[] {
  const faults: Fault[] = []
  const wanted = deck.filter(({ kind }) => only.includes(kind))
  let cards: Draw[] = []
  const nextAtMs = (beforeMs: number) => beforeMs + shortestGapMs + random(gapRangeMs)
  for (let atMs = nextAtMs(calmMs); atMs < durationMs - calmMs; atMs = nextAtMs(atMs)) {
    if (cards.length === 0) cards = shuffled(wanted, random)
    const { lasts, ...what } = cards.pop()?.draw(random) ?? never()
    const leftMs = durationMs - atMs
    const forMs = lasts ? Math.min(leftMs, 1_000 + random(longestFaultMs - 1_000)) : 0
    faults.push({ ...what, atMs, forMs })
  }
  return faults
}

function planJobs(
  { count, durationMs, longestMs }: { count: number; durationMs: number; longestMs: number },
  random: Random,
): PlannedJob[] {
  const times = Array.from({ length: count }, () => random(durationMs)).sort((a, b) => a - b)
  return times.map((atMs, number): PlannedJob => {
    const isByEvent = random(4) === 0
    const seconds = `null:seconds=${random(longestMs / 100) / 10}`
    return {
      atMs,
      name: `chaos-${number}`,
      owner: random(owners),
      door: isByEvent ? 'event' : 'rest',
      prompt: random(10) === 0 ? `${seconds} null:noface` : seconds,
      copies: random(4) === 0 ? 2 + random(3) : 1,
      cancelAfterMs: !isByEvent && random(6) === 0 ? random(3_000) : undefined,
    }
  })
}

/** A render process is killed by its engine or the kernel; nobody stops it in order. */
function victimsOf(kind: keyof typeof processFaults): readonly Victim[] {
  return kind === 'kill' ? [...processNames, 'render'] : processNames
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const mixed = [...items]
  for (let at = mixed.length - 1; at > 0; at--) {
    const other = random(at + 1)
    const [mine, theirs] = [mixed[at], mixed[other]]
    if (mine === undefined || theirs === undefined) return never()
    mixed[at] = theirs
    mixed[other] = mine
  }
  return mixed
}

function entriesOf<K extends string, V>(table: Readonly<Record<K, V>>): [K, V][] {
  return Object.entries(table) as [K, V][] // Object.entries forgets the names.
}

function never(): never {
  throw new Error('an index was out of its list')
}
