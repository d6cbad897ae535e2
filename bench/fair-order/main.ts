/**
 * Measures the fair order with many waiting jobs: how long a pick, a place and a change take, and what it
 * keeps of a job. No service runs.
 *
 *   npm run bench:fair-order
 *   npm run bench:fair-order -- --jobs 20000
 */
import { randomUUID } from 'node:crypto'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createFairOrder, equalShares, type FairJob, timings } from '../../contracts/src/index.ts'
import { markdownTable, summarise } from '../pipeline/statistics.ts'

const { values } = parseArgs({ options: { jobs: { type: 'string', default: '100000' } } })
const jobCount = Number(values.jobs)
const samples = 500
const nowMs = Date.now()

setFlagsFromString('--expose-gc')
const collectGarbageOnce: () => void = runInNewContext('gc')
/** Twice: what the first one finishes with is free for the second. */
function collectGarbage() {
  collectGarbageOnce()
  collectGarbageOnce()
}

/** How the jobs are spread over owners, and what is special about them. */
const cases: readonly {
  name: string
  owners: number
  change?: (at: number) => Partial<FairJob>
}[] = [
  { name: 'one owner', owners: 1 },
  { name: 'ten', owners: 10 },
  { name: 'a hundred', owners: 100 },
  { name: 'a thousand', owners: 1_000 },
  { name: 'ten thousand', owners: 10_000 },
  {
    name: 'one, all but one in back-off',
    owners: 1,
    change: (at) => (at === 0 ? {} : inBackOff()),
  },
  {
    name: 'ten, a thousand came back',
    owners: 10,
    change: (at) => (at < 1_000 ? cameBack(at) : {}),
  },
]

function inBackOff() {
  return { notBeforeMs: nowMs + 3_600_000 }
}

function cameBack(at: number) {
  return { turn: { start: at / 10, seconds: 8 } }
}

const rows = cases.map(({ name, owners, change }) => {
  const ids: string[] = JSON.parse(
    JSON.stringify(Array.from({ length: jobCount }, () => randomUUID())),
  )
  collectGarbage()
  const before = process.memoryUsage().heapUsed
  const order = createFairOrder(equalShares(timings))
  const startedMs = performance.now()
  for (let at = 0; at < jobCount; at++) {
    const jobId = ids[at] ?? ''
    order.note(jobOf(jobId, at, owners, change?.(at)), at + 1)
  }
  const fillMs = performance.now() - startedMs
  collectGarbage()
  const heapMiB = (process.memoryUsage().heapUsed - before) / 2 ** 20
  const idOf = (at: number) => ids[(at * 7_919) % ids.length] ?? ''
  let revision = jobCount
  const picks = microseconds(() => order.pick(nowMs))
  const places = microseconds((at) => order.placeOf(idOf(at)))
  const ahead = microseconds((at) => order.aheadOf(idOf(at), 256))
  const changes = microseconds((at) => {
    const position = (at * 7_919) % ids.length
    order.note(jobOf(idOf(at), position, owners, change?.(position)), ++revision)
  })
  const columns = [picks, places, ahead, changes].map((times) => {
    const { median, p95 } = summarise(times)
    return `${median.toFixed(1)} (${p95.toFixed(1)})`
  })
  return [name, fillMs.toFixed(0), heapMiB.toFixed(1), ...columns]
})
const head = ['owners', 'fill ms', 'heap MiB', 'pick µs', 'place µs', 'ahead of µs', 'change µs']
process.stdout.write(`${jobCount} jobs; medians, 95th percentiles in brackets\n\n`)
process.stdout.write(markdownTable(head, rows))

function jobOf(jobId: string, at: number, owners: number, change: Partial<FairJob> = {}): FairJob {
  return {
    jobId,
    owner: `o_${String(at % owners).padStart(12, '0')}`,
    state: 'queued',
    createdAtMs: nowMs + at,
    estimatedSeconds: 4 + (at % 17) * 1.3,
    ...(at % 11 === 0 ? { priority: 'high' as const } : {}),
    ...change,
  }
}

function microseconds(work: (at: number) => void): number[] {
  return Array.from({ length: samples }, (_none, at) => {
    const beganMs = performance.now()
    work(at)
    return (performance.now() - beganMs) * 1_000
  })
}
