import { randomUUID } from 'node:crypto'
import { equalShares, type FairRules, type JobRecord, jobKey, timings } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { type Change, createLog, type RecordStore, systemClock } from '@avatar/service-kit'
import { itKeepsTheRunnableContract, until } from '@avatar/service-kit/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { type Board, createBoard } from './board.ts'

const log = createLog('test', 'silent')
const running: Board[] = []
afterEach(async () => {
  for (const board of running.splice(0)) await board.stop()
})

/** A board that is not started, over a watch whose changes the test makes. */
function aStoppedBoard(present: JobRecord[] = [], rules: Partial<FairRules> = {}) {
  const changes: Change<JobRecord>[] = present.map(put)
  let wake = Promise.withResolvers<void>()
  let opened = 0
  let closed = 0
  let shallBreak = false
  const records = {
    async *watch(signal: AbortSignal, onCurrent: () => void) {
      opened++
      signal.addEventListener('abort', () => wake.resolve())
      try {
        while (!signal.aborted) {
          yield* changes.splice(0)
          onCurrent()
          await wake.promise
          wake = Promise.withResolvers()
          if (!shallBreak) continue
          shallBreak = false
          throw new Error('the watch broke')
        }
      } finally {
        closed++
      }
    },
  } as unknown as RecordStore<JobRecord> // The board calls nothing else.
  const clock = { ...systemClock, wait: (_ms: number, s?: AbortSignal) => systemClock.wait(1, s) }
  const fairRules = { ...equalShares(timings), ...rules }
  const board = createBoard({ records, clock, log, fairRules })
  running.push(board)
  const change = (...more: Change<JobRecord>[]) => {
    changes.push(...more)
    wake.resolve()
  }
  const breakDown = () => {
    shallBreak = true
    wake.resolve()
  }
  return { board, change, breakDown, opened: () => opened, atWork: () => opened - closed }
}

async function aBoard(present: JobRecord[] = [], rules: Partial<FairRules> = {}) {
  const made = aStoppedBoard(present, rules)
  await made.board.start()
  return made
}

describe('the board', () => {
  itKeepsTheRunnableContract(() => {
    const { board, atWork } = aStoppedBoard()
    return { runnable: board, atWork }
  })
})

let revision = 0
const put = (value: JobRecord): Change<JobRecord> => ({
  ...{ key: jobKey(value.owner, value.jobId), value, revision: ++revision, isUpdate: true },
})

const job = (difference: Partial<JobRecord> = {}) => aJob({ jobId: randomUUID(), ...difference })

describe('the place in the queue', () => {
  it('goes by creation, then by id, and a pending job has the one that it will have', async () => {
    const [a, b] = ['a', 'b'].map((c) => `${c.repeat(8)}-0000-4000-8000-000000000000`)
    const first = job({ createdAtMs: 10 })
    const twins = [a, b].map((jobId) => aJob({ ...(jobId ? { jobId } : {}), createdAtMs: 20 }))
    const pending = job({ state: 'pending', createdAtMs: 15 })
    const { board } = await aBoard([...twins.toReversed(), pending, first])
    const places = [first, pending, ...twins].map(({ jobId }) => board.queuePosition(jobId))
    expect(places).toEqual([1, 2, 3, 4])
    expect(board.queueDepth()).toBe(4)
  })

  it('goes round the owners, a job of high priority first of its own', async () => {
    const many = [1, 2, 3].map((createdAtMs) => job({ owner: 'acme', createdAtMs }))
    const urgent = job({ owner: 'acme', createdAtMs: 4, priority: 'high' })
    const late = job({ owner: 'other', createdAtMs: 9 })
    const { board } = await aBoard([...many, late, urgent])
    const places = [urgent, late, ...many].map(({ jobId }) => board.queuePosition(jobId))
    expect(places).toEqual([1, 2, 3, 4, 5])
  })

  it('is told to nobody who may start none, and counts none of theirs', async () => {
    const held = job({ owner: 'acme', createdAtMs: 1 })
    const other = job({ owner: 'other', createdAtMs: 2 })
    const heldBack: FairRules['heldBack'] = (owner, running) =>
      owner === 'acme' && running >= 1 ? 'own_jobs' : undefined
    const running = job({ owner: 'acme', state: 'rendering' })
    const { board, change } = await aBoard([held, other, running], { heldBack })
    expect([held, other].map(({ jobId }) => board.queuePosition(jobId))).toEqual([undefined, 1])
    expect([board.heldBackOf('acme'), board.heldBackOf('other')]).toEqual(['own_jobs', undefined])
    change(put({ ...running, state: 'storing' }))
    await until(() => board.queuePosition(held.jobId) === 1)
    expect(board.queuePosition(other.jobId)).toBe(2)
  })

  it('ends when the job renders, and moves up when one ahead leaves', async () => {
    const ahead = job({ createdAtMs: 1 })
    const behind = job({ createdAtMs: 2 })
    const { board, change } = await aBoard([ahead, behind, job({ state: 'rendering' })])
    expect(board.queuePosition(behind.jobId)).toBe(2)
    change(put({ ...ahead, state: 'rendering' }))
    await until(() => board.queuePosition(behind.jobId) === 1)
    expect(board.queuePosition(ahead.jobId)).toBeUndefined()
    const gone: Change<JobRecord> = { ...put(behind), value: undefined }
    change(gone)
    await until(() => board.queueDepth() === 0)
  })
})

describe('what is ahead of a job', () => {
  it('is what workers have under way, and what is queued ahead of it, until that ends', async () => {
    const ahead = job({ createdAtMs: 1, estimatedSeconds: 5 })
    const own = job({ createdAtMs: 2 })
    const worker = { id: 'w1', incarnation: 'i1' }
    const rendering = job({ state: 'rendering', worker })
    const { board, change } = await aBoard([ahead, own, job({ createdAtMs: 3 }), rendering])
    const underWay = () => board.rendersUnderWay().map(({ jobId }) => jobId)
    expect(board.rendersUnderWay()).toMatchObject([{ jobId: rendering.jobId, workerId: 'w1' }])
    expect(board.jobsAhead(own).first).toEqual([{ owner: own.owner, seconds: 5 }])
    change(put({ ...own, state: 'claimed' }))
    await until(() => board.queuePosition(own.jobId) === undefined)
    expect(underWay()).toEqual([rendering.jobId, own.jobId])
    change(put({ ...rendering, state: 'completed' }))
    await until(() => underWay().length === 1)
    const gone: Change<JobRecord> = { ...put(own), value: undefined }
    change(gone)
    await until(() => underWay().length === 0)
  })

  it('is known of a job that no record tells of yet, which leaves no trace', async () => {
    const [ahead, other] = [job({ createdAtMs: 1 }), job({ createdAtMs: 2, owner: 'acme' })]
    const { board, change } = await aBoard([ahead, other])
    const fresh = job({ state: 'pending', createdAtMs: 9 })
    expect(board.jobsAhead(fresh).first).toHaveLength(2)
    expect([board.queueDepth(), board.queuePosition(fresh.jobId)]).toEqual([2, undefined])
    change(put(fresh))
    await until(() => board.queuePosition(fresh.jobId) === 3)
    expect(board.jobsAhead(fresh).first).toHaveLength(2)
    expect(board.queuePosition(fresh.jobId)).toBe(3)
  })

  it('is the first of the queue one by one, and the others as a sum', async () => {
    const jobs = Array.from({ length: 301 }, (_none, at) => job({ createdAtMs: at }))
    const { board } = await aBoard(jobs)
    const { first, rest } = board.jobsAhead(jobs.at(-1) as JobRecord)
    expect(first).toHaveLength(256)
    expect(rest).toEqual({ count: 44, seconds: 44 * (jobs[0]?.estimatedSeconds ?? 0) })
  })
})

describe('the list of an owner', () => {
  it('is newest first, by id where times are equal, and continues where the last page ended', async () => {
    const jobs = [3, 1, 2, 2].map((createdAtMs) => job({ createdAtMs, state: 'completed' }))
    const { board } = await aBoard([...jobs, job({ owner: 'acme', createdAtMs: 9 })])
    const owner = jobs[0]?.owner ?? ''
    const whole = board.listOf(owner, undefined, 10)
    expect(whole.map(({ createdAtMs }) => createdAtMs)).toEqual([3, 2, 2, 1])
    const pages = [board.listOf(owner, undefined, 2), board.listOf(owner, whole[1], 2)]
    expect(pages.flat()).toEqual(whole)
    expect(board.listOf(owner, whole.at(-1), 2)).toEqual([])
    expect(board.listOf('o_000000000000', undefined, 2)).toEqual([])
  })

  it('has a new job before the watch delivers it, and drops one that is gone', async () => {
    const fresh = job({ state: 'pending' })
    const { board, change } = await aBoard()
    board.note(fresh)
    expect(board.listOf(fresh.owner, undefined, 9)).toHaveLength(1)
    expect(board.queueDepth()).toBe(1)
    change(put({ ...fresh, state: 'rendering' }))
    await until(() => board.queueDepth() === 0)
    board.note(fresh) // Older than what the watch has delivered.
    expect(board.queueDepth()).toBe(0)
    change({ ...put(fresh), value: undefined })
    await until(() => board.listOf(fresh.owner, undefined, 9).length === 0)
  })
})

describe('a watch that breaks', () => {
  it('is opened again while the board runs', async () => {
    const { board, change, breakDown, opened } = await aBoard()
    breakDown()
    await until(() => opened() === 2)
    change(put(job()))
    await until(() => board.queueDepth() === 1)
    await board.start()
    await board.stop()
    await board.stop()
    expect(opened()).toBe(2)
  })
})
