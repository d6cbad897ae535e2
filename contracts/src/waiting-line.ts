import type { Turn } from './job.ts'
import type { Needs } from './offers.ts'

/** What the fair order keeps of a job: little, because there may be 100,000 of them. */
export type LineJob = {
  readonly jobId: string
  readonly createdAtMs: number
  /** Estimated GPU seconds. */
  readonly seconds: number
  readonly isHigh: boolean
  /** The end of its back-off; 0 without one. */
  readonly notBeforeMs: number
  /** Kept from an earlier attempt; a job without one takes the next turn behind those ahead of it. */
  readonly turn: Turn | undefined
  /** What a worker must be able to do. */
  readonly needs: Needs
}

/** The rank of a job among those of all owners. The least is next; equal keys go by creation, then id. */
export type Rank = { readonly key: number; readonly by: Pick<LineJob, 'createdAtMs' | 'jobId'> }

/** The scale on which the jobs of one owner get their keys. */
export type Scale = {
  /** Where the owner's next turn starts. */
  readonly nextStart: number
  /** The greatest key ever claimed, by whichever owner: no key lies before it. */
  readonly virtualStart: number
  readonly share: number
  readonly headStartSeconds: number
}

/** How many jobs, and their estimated GPU seconds. */
export type Load = { count: number; seconds: number }

/** A part of a line, with what lets a walk pass it without a look at its jobs. No block is empty. */
type Block = {
  readonly jobs: LineJob[]
  /** The seconds of the jobs up to each, itself included. */
  secondsUpTo: number[]
  hasTurns: boolean
  /** Of its jobs: a worker that can do none of them passes the block. */
  readonly needs: Set<Needs>
  /** When the first of its jobs is out of its back-off, and when the last one is. */
  firstFreeMs: number
  lastFreeMs: number
}

/** Small enough to be walked and summed up within a microsecond; large enough that 100,000 jobs are 1,600 blocks. */
const blockMaxJobs = 128

/**
 * The jobs of one owner that wait, in the owner's own order: high before normal, then created first.
 *
 * Keys along the line are sums over the jobs ahead. They are computed on the way, block by block, and
 * never stored: every claim would change all of them.
 */
export function createWaitingLine() {
  const blocks: Block[] = []
  let count = 0

  /** Which block holds a job, or would take it. */
  function blockOf(job: LineJob): number {
    return countWhile(blocks.length - 1, (at) => {
      const last = blocks[at]?.jobs.at(-1)
      return last !== undefined && isAhead(last, job)
    })
  }

  return {
    size: () => count,

    add(job: LineJob): void {
      if (blocks.length === 0) blocks.push(blockOfJobs([]))
      const at = blockOf(job)
      const { jobs } = blocks[at] as Block // There is one, and `at` is within.
      jobs.splice(indexIn(jobs, job), 0, job)
      count++
      if (jobs.length > blockMaxJobs)
        blocks.splice(at + 1, 0, blockOfJobs(jobs.splice(splitAt(jobs, job))))
      sumUp(blocks[at] as Block)
    },

    /** Takes out a job that was added. */
    remove(job: LineJob): void {
      const at = blockOf(job)
      const block = blocks[at]
      if (!block) return
      block.jobs.splice(indexIn(block.jobs, job), 1)
      count--
      if (block.jobs.length === 0) blocks.splice(at, 1)
      else sumUp(block)
    },

    /** The first job that is in no back-off, and that a worker can do. */
    first(nowMs: number, suits: (needs: Needs) => boolean): LineJob | undefined {
      const isFor = ({ notBeforeMs, needs }: LineJob) => notBeforeMs <= nowMs && suits(needs)
      const head = blocks[0]?.jobs[0]
      if (!head || isFor(head)) return head
      for (const { firstFreeMs, needs, jobs } of blocks) {
        if (firstFreeMs > nowMs || ![...needs].some(suits)) continue
        const found = jobs.find(isFor)
        if (found) return found
      }
      return undefined
    },

    /** How many jobs are in no back-off. */
    freeCount(nowMs: number): number {
      let free = 0
      for (const { jobs, firstFreeMs, lastFreeMs } of blocks)
        if (lastFreeMs <= nowMs) free += jobs.length
        else if (firstFreeMs <= nowMs)
          free += jobs.filter(({ notBeforeMs }) => notBeforeMs <= nowMs).length
      return free
    },

    /** The rank of a job in the line, and what the line has ahead of it. */
    standingOf(job: LineJob, scale: Scale): { rank: Rank; ahead: Load } {
      const walk = startWalk(scale)
      const at = blockOf(job)
      for (let earlier = 0; earlier < at; earlier++) passBlock(walk, blocks[earlier] as Block)
      const { jobs } = blocks[at] as Block // The one that holds the job.
      const ownIndex = indexIn(jobs, job)
      for (let index = 0; index < ownIndex; index++) passJob(walk, jobs[index] as LineJob)
      const ahead = { count: walk.count, seconds: walk.seconds }
      passJob(walk, job)
      return { rank: walk, ahead }
    },

    /** The jobs of the line that go before a job of another line. */
    loadBefore(rank: Rank, scale: Scale): Load {
      const walk = startWalk(scale)
      for (const block of blocks) {
        const { jobs } = block
        if (!block.hasTurns) {
          const before = countBefore(walk, block, rank)
          passFirst(walk, block, before)
          if (before < jobs.length) return walk
          continue
        }
        for (const job of jobs) {
          const { count, seconds } = walk
          passJob(walk, job)
          if (!goesBefore(walk, rank)) return { count, seconds }
        }
      }
      return walk
    },

    /** The jobs in order, with their ranks. The line must not change meanwhile. */
    *ranked(scale: Scale): Generator<{ job: LineJob; rank: Rank }, undefined> {
      const walk = startWalk(scale)
      for (const { jobs } of blocks)
        for (const job of jobs) {
          passJob(walk, job)
          yield { job, rank: { key: walk.key, by: walk.by } }
        }
      return undefined
    },
  }
}

export type WaitingLine = ReturnType<typeof createWaitingLine>

/** Whether one rank goes before another. */
export function goesBefore(a: Rank, b: Rank): boolean {
  return isBefore(a.key, a.by, b)
}

/** The same, without an object for the first rank: a walk asks it many times. */
export function isBefore(key: number, by: Rank['by'], rank: Rank): boolean {
  return key === rank.key ? isOlder(by, rank.by) : key < rank.key
}

function isOlder(a: Rank['by'], b: Rank['by']): boolean {
  if (a.createdAtMs !== b.createdAtMs) return a.createdAtMs < b.createdAtMs
  return a.jobId < b.jobId
}

/** The owner's own order. */
function isAhead(a: LineJob, b: LineJob): boolean {
  return a.isHigh === b.isHigh ? isOlder(a, b) : a.isHigh
}

/** Where a job stands among others in order, or belongs. */
function indexIn(jobs: readonly LineJob[], job: LineJob): number {
  return countWhile(jobs.length, (at) => isAhead(jobs[at] as LineJob, job)) // `at` is within.
}

/** How many of `count` things in order come before the first of which it is false. */
export function countWhile(count: number, isTrueOf: (at: number) => boolean): number {
  let from = 0
  let to = count
  while (from < to) {
    const middle = (from + to) >> 1
    if (isTrueOf(middle)) from = middle + 1
    else to = middle
  }
  return from
}

/** Where to split a full block. Jobs mostly come in their order, and then the first part stays full. */
function splitAt(jobs: readonly LineJob[], added: LineJob): number {
  return jobs.at(-1) === added ? jobs.length - 1 : jobs.length >> 1
}

function blockOfJobs(jobs: LineJob[]): Block {
  const times = { firstFreeMs: 0, lastFreeMs: 0 }
  const block: Block = { jobs, secondsUpTo: [], hasTurns: false, needs: new Set(), ...times }
  sumUp(block)
  return block
}

/** Sums up from scratch: sums that are only corrected drift. */
function sumUp(block: Block) {
  const { jobs, secondsUpTo } = block
  secondsUpTo.length = 0
  block.needs.clear()
  block.hasTurns = false
  block.firstFreeMs = Infinity
  block.lastFreeMs = 0
  let sum = 0
  for (const { seconds, turn, notBeforeMs, needs } of jobs) {
    sum += seconds
    block.needs.add(needs)
    secondsUpTo.push(sum)
    if (turn) block.hasTurns = true
    if (notBeforeMs < block.firstFreeMs) block.firstFreeMs = notBeforeMs
    if (notBeforeMs > block.lastFreeMs) block.lastFreeMs = notBeforeMs
  }
}

/** A walk along a line: what was passed, the turns taken on the way, and the rank of the last job passed. */
type Walk = { readonly scale: Scale; takenSeconds: number; key: number; by: Rank['by'] } & Load

const nobody: Rank['by'] = { createdAtMs: 0, jobId: '' }

function startWalk(scale: Scale): Walk {
  return { scale, takenSeconds: 0, key: -Infinity, by: nobody, count: 0, seconds: 0 }
}

/** Makes a job the last one passed. None goes before the one ahead of it, whatever its own key says. */
function reach(walk: Walk, key: number, by: LineJob) {
  if (isBefore(key, by, walk)) return
  walk.key = key
  walk.by = by
}

function passJob(walk: Walk, job: LineJob) {
  const { scale } = walk
  const start = job.turn
    ? Math.max(job.turn.start, scale.virtualStart, walk.key)
    : scale.nextStart + walk.takenSeconds / scale.share
  reach(walk, start - headStartOf(job, scale), job)
  if (!job.turn) walk.takenSeconds += job.seconds
  walk.count++
  walk.seconds += job.seconds
}

function passBlock(walk: Walk, block: Block) {
  if (!block.hasTurns) passFirst(walk, block, block.jobs.length)
  else for (const job of block.jobs) passJob(walk, job)
}

/** Passes the first jobs of a block in which none has kept its turn. */
function passFirst(walk: Walk, block: Block, count: number) {
  const last = block.jobs[count - 1]
  if (!last) return
  reach(walk, ownKey(walk, block, count - 1), last)
  const seconds = block.secondsUpTo[count - 1] ?? 0
  walk.takenSeconds += seconds
  walk.count += count
  walk.seconds += seconds
}

/** How many jobs of a block in which none has kept its turn go before a rank. */
function countBefore(walk: Walk, block: Block, rank: Rank): number {
  const { jobs } = block
  const isOneBefore = (at: number) => isBefore(ownKey(walk, block, at), jobs[at] as LineJob, rank) // `at` is within.
  if (isOneBefore(jobs.length - 1)) return jobs.length
  return countWhile(jobs.length - 1, isOneBefore)
}

/** The key of a job in a block in which none has kept its turn, for a walk that has reached the block. */
function ownKey({ scale, takenSeconds }: Walk, { jobs, secondsUpTo }: Block, at: number): number {
  const ahead = takenSeconds + (secondsUpTo[at - 1] ?? 0)
  return scale.nextStart + ahead / scale.share - headStartOf(jobs[at] as LineJob, scale)
}

function headStartOf({ isHigh }: LineJob, { headStartSeconds }: Scale): number {
  return isHigh ? headStartSeconds : 0
}
