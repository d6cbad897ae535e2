import { isTerminal, type JobRecord, type JobState, type Turn } from './job.ts'
import { type Needs, plainNeeds } from './offers.ts'
import type { Timings } from './timings.ts'
import {
  countWhile,
  createWaitingLine,
  goesBefore,
  isBefore,
  type LineJob,
  type Load,
  type Rank,
  type Scale,
  type WaitingLine,
} from './waiting-line.ts'

/** What the order needs to know of a job; a record has all of it. */
export type FairJob = Pick<
  JobRecord,
  | 'jobId'
  | 'owner'
  | 'state'
  | 'createdAtMs'
  | 'estimatedSeconds'
  | 'priority'
  | 'notBeforeMs'
  | 'turn'
  | 'finishedAtMs'
> & {
  /** What a worker must be able to do; nothing unless it says so. */
  needs?: Needs
}

/** Why an owner may start no job now, however many workers are free. */
export type Held = 'own_jobs' | 'budget'

/** What the operator allows. It is asked anew at every look, so a change of limits needs no notice. */
export type FairRules = {
  /** GPU seconds by which a job of high priority may run ahead of its owner's share. */
  headStartSeconds: number
  /** The owner's part of the GPU time, against the others who wait; 1 unless the operator says more. */
  shareOf(owner: string): number
  /**
   * Why this owner, who has `running` jobs on workers, may start none; undefined when it may. Who is
   * held back stays so with more running.
   */
  heldBack(owner: string, running: number): Held | undefined
}

/** The rules without limits: all owners have equal shares, and nobody is held back. */
export function equalShares({ highHeadStartMs }: Pick<Timings, 'highHeadStartMs'>): FairRules {
  return {
    headStartSeconds: highHeadStartMs / 1000,
    shareOf: () => 1,
    heldBack: () => undefined,
  }
}

/** The next job, and the turn to write into its record with the claim. */
export type NextJob = { jobId: string; owner: string; turn: Turn }

/** The jobs that go before another: the first ones one by one, next first, and the others as a sum. */
export type JobsAhead = { first: { owner: string; seconds: number }[]; rest: Load }

/** States in which a job has a worker's GPU, or is about to: they count against the owner's cap. */
const runningStates: ReadonlySet<JobState> = new Set(['claimed', 'rendering', 'cancelling'])

/** How many ended jobs are remembered, so that an older revision, told late, does not bring one back. */
const endedKept = 10_000

/**
 * One owner: who waits, how many run, where its latest turn starts, and the turns that the next one starts
 * behind. Those are the latest, which are several where two orchestrators claimed at once or where a job
 * ended unrendered; and earlier ones that ended since the latest was taken, by what they differ from their
 * estimates: the latest could not know it yet.
 */
type Line = {
  readonly owner: string
  readonly waiting: WaitingLine
  running: number
  latestStart: number
  latestTakenAtMs: number
  readonly turns: Map<string, TakenTurn>
}

type TakenTurn = Turn & { readonly endedAtMs: number | undefined }

/** A job that has not ended. */
type Known = LineJob & {
  readonly line: Line
  readonly revision: number
  readonly isWaiting: boolean
  readonly isRunning: boolean
}

/**
 * Whose job is next: start-time fair queuing over owners, by GPU seconds per share. Everything is folded
 * from records, ended ones included, so every process and every restart has the same order.
 *
 * `V`, the virtual start, is the greatest key ever claimed: who was away neither owes nor is owed.
 */
export function createFairOrder(rules: FairRules) {
  const known = new Map<string, Known>()
  /** Ended jobs and the revisions they ended with, oldest first. */
  const ended = new Map<string, number>()
  const lines = new Map<string, Line>()
  /** The lines in which somebody waits: there may be many more owners who do not. */
  const busyLines = new Set<Line>()
  /** What jobs have needed so far. */
  const needsSeen = new Set<Needs>()
  let waitingJobs = 0
  let virtualStart = 0

  function lineOf(owner: string): Line {
    const line = lines.get(owner) ?? {
      owner,
      waiting: createWaitingLine(),
      running: 0,
      latestStart: 0,
      latestTakenAtMs: 0,
      turns: new Map(),
    }
    lines.set(owner, line)
    return line
  }

  function enter(job: Known) {
    known.set(job.jobId, job)
    if (job.isRunning) job.line.running++
    if (!job.isWaiting) return
    job.line.waiting.add(job)
    busyLines.add(job.line)
    waitingJobs++
  }

  function leave(jobId: string) {
    const job = known.get(jobId)
    if (!job) return
    known.delete(jobId)
    if (job.isRunning) job.line.running--
    if (!job.isWaiting) return
    job.line.waiting.remove(job)
    if (job.line.waiting.size() === 0) busyLines.delete(job.line)
    waitingJobs--
  }

  function end(jobId: string, revision: number) {
    ended.delete(jobId)
    ended.set(jobId, revision)
    const [oldest] = ended.keys()
    if (ended.size > endedKept && oldest !== undefined) ended.delete(oldest)
  }

  function takeTurn(line: Line, job: FairJob) {
    const { jobId, turn, priority } = job
    if (!turn) return
    const { start, takenAtMs = 0 } = turn
    if (start > line.latestStart) {
      line.latestStart = start
      line.latestTakenAtMs = takenAtMs
    } else if (start === line.latestStart)
      line.latestTakenAtMs = Math.max(line.latestTakenAtMs, takenAtMs)
    const endedAtMs = isTerminal(job) ? job.finishedAtMs : undefined
    line.turns.set(jobId, { ...turn, endedAtMs })
    for (const [id, each] of line.turns) if (!counts(each, line)) line.turns.delete(id)
    virtualStart = Math.max(virtualStart, start - headStartOf(priority === 'high'))
  }

  const headStartOf = (isHigh: boolean) => (isHigh ? rules.headStartSeconds : 0)
  const heldBack = ({ owner, running }: Line) => rules.heldBack(owner, running)

  /** The end of the owner's latest turn: where its next one would start, if time did not pass. */
  function ownStart({ owner, latestStart, turns }: Line, share = rules.shareOf(owner)): number {
    let seconds = 0
    if (turns.size > 0)
      for (const turn of turns.values())
        seconds += turn.start === latestStart ? turn.seconds : differenceOf(turn)
    return latestStart + seconds / share
  }

  /** Where a job without a turn would start: behind the owner's latest turn, but not in the past. */
  function nextStart(line: Line, share?: number): number {
    return Math.max(ownStart(line, share), virtualStart)
  }

  function scaleOf(line: Line): Scale {
    const { headStartSeconds } = rules
    const share = rules.shareOf(line.owner)
    return { nextStart: nextStart(line, share), virtualStart, share, headStartSeconds }
  }

  /** What goes before a waiting job in its own line and in those of owners who may start jobs. */
  function aheadOf(job: Known) {
    const { rank, ahead } = job.line.waiting.standingOf(job, scaleOf(job.line))
    const lines = [job.line]
    for (const line of busyLines) {
      if (line === job.line || heldBack(line)) continue
      const { count, seconds } = line.waiting.loadBefore(rank, scaleOf(line))
      if (count > 0) lines.push(line)
      ahead.count += count
      ahead.seconds += seconds
    }
    return { ahead, lines }
  }

  type Candidate = { key: number; line: Line; by: Rank['by'] }

  function goesFirst({ key, line, by }: Candidate, best: { line: Line; rank: Rank }): boolean {
    if (needsSeen.size > 1 && key === best.rank.key) {
      const lead = ownStart(best.line) - ownStart(line)
      if (lead !== 0) return lead > 0
    }
    return isBefore(key, by, best.rank)
  }

  /** How many jobs of a line may start now, by their back-offs and what holds their owner back. */
  function mayStartOf({ owner, running, waiting }: Line, nowMs: number): number {
    let least = 0
    let most = waiting.freeCount(nowMs)
    while (least < most) {
      const middle = (least + most + 1) >> 1
      if (rules.heldBack(owner, running + middle - 1)) most = middle - 1
      else least = middle
    }
    return least
  }

  return {
    /** Takes in a record, unless the same or a later revision of it is known. */
    note(job: FairJob, revision: number): void {
      const { jobId, owner, state, createdAtMs, estimatedSeconds } = job
      const { priority, notBeforeMs, turn, needs = plainNeeds } = job
      if ((known.get(jobId)?.revision ?? ended.get(jobId) ?? -1) >= revision) return
      leave(jobId)
      needsSeen.add(needs)
      const line = lineOf(owner)
      takeTurn(line, job)
      if (isTerminal(job)) end(jobId, revision)
      else
        enter({
          jobId,
          createdAtMs,
          seconds: estimatedSeconds,
          isHigh: priority === 'high',
          notBeforeMs: notBeforeMs ?? 0,
          turn,
          needs,
          line,
          revision,
          isWaiting: state === 'queued',
          isRunning: runningStates.has(state),
        })
    },

    /** A record that exists no longer. */
    forget(jobId: string): void {
      leave(jobId)
      ended.delete(jobId)
    },

    /**
     * The job that a free worker gets now, of those that it can do; undefined when none may start. A job
     * that goes before another of its owner takes the turn that the other one would have taken.
     *
     * Where jobs need different workers, those that few can do fall behind those that all can, and all of
     * them would start at `V`. Among these the owner whose latest turn ended first is next: whoever sent
     * more of them, and earlier, would otherwise keep the others from those workers for ever.
     */
    pick(nowMs: number, suits: (needs: Needs) => boolean = () => true): NextJob | undefined {
      let best: { line: Line; turn: Turn; rank: Rank } | undefined
      for (const line of busyLines) {
        const job = line.waiting.first(nowMs, suits)
        if (!job) continue
        const start = job.turn?.start ?? nextStart(line)
        const key = Math.max(start, virtualStart) - headStartOf(job.isHigh)
        const isNext = !best || goesFirst({ key, line, by: job }, best)
        // Whether an owner may start is asked only of those who would be next: asking may be dear.
        if (!isNext || heldBack(line)) continue
        best = { line, turn: job.turn ?? { start, seconds: job.seconds }, rank: { key, by: job } }
      }
      return best && { jobId: best.rank.by.jobId, owner: best.line.owner, turn: best.turn }
    },

    /**
     * 1 for the job that is next, those in back-off included; undefined for one that does not wait, or
     * whose owner may start none now. Such owners are left out of everybody's count.
     */
    placeOf(jobId: string): number | undefined {
      const job = known.get(jobId)
      if (!job?.isWaiting || heldBack(job.line)) return undefined
      return aheadOf(job).ahead.count + 1
    },

    /**
     * The jobs that go before a waiting one, at most `max` of them one by one. For an owner who may start
     * none now they are those once it may again.
     */
    aheadOf(jobId: string, max: number): JobsAhead {
      const job = known.get(jobId)
      if (!job?.isWaiting) return { first: [], rest: { count: 0, seconds: 0 } }
      const { ahead, lines } = aheadOf(job)
      const first = firstOf(lines, scaleOf, Math.min(max, ahead.count))
      const count = ahead.count - first.length
      // Sums of different orders differ in their last digits.
      const seconds = first.reduce((left, each) => left - each.seconds, ahead.seconds)
      return { first, rest: { count, seconds: count === 0 ? 0 : seconds } }
    },

    /** Why the owner may start no job now; undefined when it may. */
    heldBackOf(owner: string): Held | undefined {
      return rules.heldBack(owner, lines.get(owner)?.running ?? 0)
    },

    /** How many jobs are queued. */
    waitingCount: () => waitingJobs,

    /** How many jobs of one owner may start now. */
    mayStartCountOf(owner: string, nowMs: number): number {
      const line = lines.get(owner)
      return line && busyLines.has(line) ? mayStartOf(line, nowMs) : 0
    },

    /** How many of them may start now: that many more workers would be of use. */
    mayStartCount(nowMs: number): number {
      return [...busyLines].reduce((sum, line) => sum + mayStartOf(line, nowMs), 0)
    },
  }
}

export type FairOrder = ReturnType<typeof createFairOrder>

/** Whether the owner's next turn starts behind this one; a turn that still runs is told again at its end. */
function counts(turn: TakenTurn, { latestStart, latestTakenAtMs }: Line): boolean {
  if (turn.start === latestStart) return turn.seconds > 0
  return (turn.endedAtMs ?? 0) > latestTakenAtMs && differenceOf(turn) !== 0
}

/** How much more than estimated a turn took, in GPU seconds; less than 0 if it took less. */
function differenceOf({ seconds, estimatedSeconds = seconds }: Turn): number {
  return seconds - estimatedSeconds
}

/** The first jobs of several lines, the next one first. */
function firstOf(lines: readonly Line[], scaleOf: (line: Line) => Scale, count: number) {
  if (count === 0) return []
  const heads = lines.flatMap((line) => {
    const jobs = line.waiting.ranked(scaleOf(line))
    const { value } = jobs.next()
    return value ? [{ owner: line.owner, jobs, ...value }] : []
  })
  // The next one is the last, from where it is taken without moving the others.
  heads.sort((a, b) => (goesBefore(a.rank, b.rank) ? 1 : -1))
  const first: JobsAhead['first'] = []
  while (first.length < count) {
    const head = heads.pop()
    if (!head) break
    first.push({ owner: head.owner, seconds: head.job.seconds })
    const { value } = head.jobs.next()
    if (!value) continue
    const laterHeads = countWhile(heads.length, (at) => {
      const other = heads[at]
      return other !== undefined && goesBefore(value.rank, other.rank)
    })
    heads.splice(laterHeads, 0, { ...head, ...value })
  }
  return first
}
