import type { GpuSum } from './ledger.ts'
import { monthOf, type Posting } from './postings.ts'
import { sumOf } from './usage.ts'
import { costOf, createWorkerDays } from './worker-days.ts'

/** What costs can be split by. */
export const costSplits = ['day', 'owner', 'pool', 'end'] as const
export type CostSplit = (typeof costSplits)[number]

/** Where GPU seconds went, and what they cost. */
export type Costs = {
  /** Paid by owners. */
  charged: GpuSum
  /** Attempts that nobody but us pays. */
  ours: GpuSum
  coldStart: GpuSum
  idle: GpuSum
  /** Rendered by workers and booked by no attempt: cut-off workers, attempts that go on. */
  waste: GpuSum
  total: GpuSum
}

/** `name` is empty for what belongs to none: workers' time has neither an owner nor an end. */
export type CostRow = Costs & { name: string }

/** GPU seconds of one kind, and all that they can be split by. */
type Part = GpuSum & {
  kind: 'charged' | 'ours' | 'coldStart' | 'idle' | 'rendering'
  day: string
  pool: string
  owner?: string
  end?: string
}

/** The costs of one month: in rows, ordered by name, and in all. */
export function costsOf(
  postings: readonly Posting[],
  month: string,
  by: CostSplit,
): { rows: CostRow[]; total: Costs } {
  const parts = [...attemptsIn(postings, month), ...workerTimeIn(postings, month)]
  const rows = [...Map.groupBy(parts, (part) => part[by] ?? '')].map(([name, own]) => {
    // What was rendered has a day and a pool; it can be set against an owner's attempts only as a whole.
    const rendered = by === 'day' || by === 'pool' ? own : name === '' ? parts : []
    return { name, ...costsFrom(own, wasteOf(rendered)) }
  })
  return {
    rows: rows.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    total: costsFrom(parts, wasteOf(parts)),
  }
}

/** What a pool's workers cost on a day by their own clocks, for comparison with the provider's bill. */
export function workerCostOn(postings: readonly Posting[], day: string, pool: string): GpuSum {
  const parts = workerTimeIn(postings, monthOf(day))
  return sumOf(...parts.filter((part) => part.day === day && part.pool === pool))
}

function costsFrom(parts: readonly Part[], waste: GpuSum): Costs {
  const of = (kind: Part['kind']) => sumOf(...parts.filter((part) => part.kind === kind))
  const [charged, ours, coldStart, idle] = [of('charged'), of('ours'), of('coldStart'), of('idle')]
  const total = sumOf(charged, ours, coldStart, idle, waste)
  return { charged, ours, coldStart, idle, waste, total }
}

/** Never below zero: an attempt is booked on the day its job ends, and a worker's last minute comes late. */
function wasteOf(parts: readonly Part[]): GpuSum {
  const pools = [...Map.groupBy(parts, ({ pool }) => pool).values()]
  return sumOf(
    ...pools.map((own) => {
      const rendered = sumOf(...own.filter(({ kind }) => kind === 'rendering'))
      const booked = sumOf(...own.filter(({ kind }) => kind === 'charged' || kind === 'ours'))
      return {
        gpuSeconds: Math.max(0, rendered.gpuSeconds - booked.gpuSeconds),
        micros: Math.max(0, rendered.micros - booked.micros),
      }
    }),
  )
}

function attemptsIn(postings: readonly Posting[], month: string): Part[] {
  return postings.flatMap(({ kind, day, body }) => {
    if (kind !== 'job' || monthOf(day) !== month) return []
    return body.attempts.map(
      ({ gpuSeconds, micros, pool, end, isCharged }): Part => ({
        ...{ gpuSeconds, micros, pool, end, day, owner: body.owner },
        kind: isCharged ? 'charged' : 'ours',
      }),
    )
  })
}

function workerTimeIn(postings: readonly Posting[], month: string): Part[] {
  const workers = createWorkerDays()
  const days = new Set<string>()
  for (const { kind, day, body } of postings) {
    if (kind !== 'worker') continue
    workers.note(day, body)
    if (monthOf(day) === month) days.add(day)
  }
  return [...days].flatMap((day) =>
    workers.daysOf(day).flatMap((worker): Part[] => [
      { kind: 'coldStart', day, pool: worker.pool, ...costOf(worker.loadingSeconds, worker) },
      { kind: 'idle', day, pool: worker.pool, ...costOf(worker.idleSeconds, worker) },
      { kind: 'rendering', day, pool: worker.pool, ...costOf(worker.renderingSeconds, worker) },
    ]),
  )
}
