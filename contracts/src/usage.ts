import { billDifference } from './bills.ts'
import type { JobRecord } from './job.ts'
import type { BillPosting, GpuSum, JobPosting } from './ledger.ts'
import type { OpenTotal } from './open-jobs.ts'
import { monthOf, type Posting } from './postings.ts'
import { costMicros } from './prices.ts'
import { costOf, costOfDay, createWorkerDays } from './worker-days.ts'

/** What is spent, folded from postings: who reads them again has the same sums. */
export type Usage = ReturnType<typeof createUsage>

const nothing: GpuSum = { gpuSeconds: 0, micros: 0 }

/** Several sums as one. */
export function sumOf(...sums: readonly GpuSum[]): GpuSum {
  return {
    gpuSeconds: sums.reduce((sum, each) => sum + each.gpuSeconds, 0),
    micros: sums.reduce((sum, each) => sum + each.micros, 0),
  }
}

/**
 * An empty account. It takes each posting of a job once, and those of workers as often as they come.
 *
 * Only charged seconds and money count against an owner; what the whole service spent includes failed
 * attempts, cold starts and idle time.
 */
export function createUsage() {
  const charged = new Map<string, GpuSum>()
  const booked = new Map<string, GpuSum>()
  const workers = createWorkerDays()
  /** The latest day that each pool was billed for. */
  const bills = new Map<string, BillPosting>()

  const add = (sums: Map<string, GpuSum>, key: string, sum: GpuSum) =>
    sums.set(key, sumOf(sums.get(key) ?? nothing, sum))

  function noteJob(day: string, posting: JobPosting) {
    for (const period of [day, monthOf(day)])
      add(charged, `${posting.owner} ${period}`, posting.charged)
    add(booked, day, sumOf(posting.charged, posting.ours))
  }

  function spentOn(day: string): GpuSum {
    const idle = workers
      .daysOf(day)
      .map((worker) => costOf(worker.loadingSeconds + worker.idleSeconds, worker))
    return sumOf(booked.get(day) ?? nothing, ...idle)
  }

  return {
    note(posting: Posting): void {
      if (posting.kind === 'job') noteJob(posting.day, posting.body)
      else if (posting.kind === 'worker') workers.note(posting.day, posting.body)
      else if (posting.day >= (bills.get(posting.body.pool)?.day ?? ''))
        bills.set(posting.body.pool, posting.body)
    },

    /** What an owner was charged on a day (`2026-11-29`) or in a month (`2026-11`). */
    chargedTo: (owner: string, period: string): GpuSum =>
      charged.get(`${owner} ${period}`) ?? nothing,

    /** What the whole service spent on a day: attempts, whoever pays them, cold starts and idle time. */
    spentOn,

    /** The same, from the first day of its month on. */
    spentToDateIn(day: string): GpuSum {
      const days = Array.from({ length: Number(day.slice(8)) }, (_, n) => n + 1)
      const month = monthOf(day)
      return sumOf(...days.map((n) => spentOn(`${month}-${String(n).padStart(2, '0')}`)))
    },

    /** How far each pool's latest bill is from what its workers cost by their own clocks. */
    billDifferences(): { pool: string; ratio: number }[] {
      return [...bills.values()].map(({ pool, day, micros }) => {
        const own = workers.daysOf(day).filter((worker) => worker.pool === pool)
        return { pool, ratio: billDifference(micros, sumOf(...own.map(costOfDay)).micros) }
      })
    },
  }
}

/** The account of these postings. */
export function usageOf(postings: Iterable<Posting>): Usage {
  const usage = createUsage()
  for (const posting of postings) usage.note(posting)
  return usage
}

/**
 * What unfinished jobs are expected to spend: their estimates, at the price of the dearest pool, because
 * nobody knows yet which one will render them.
 */
export function committedOf(
  { estimatedSeconds }: Pick<OpenTotal, 'estimatedSeconds'>,
  dearestMicros: number,
): GpuSum {
  return { gpuSeconds: estimatedSeconds, micros: costMicros(estimatedSeconds, dearestMicros) }
}

/** What an owner is charged for a job: as far as its ended attempts say, and finally once it has ended. */
export function chargedOf(job: Pick<JobRecord, 'spent'>): GpuSum {
  return sumOf(...(job.spent ?? []).filter(({ isCharged }) => isCharged))
}
