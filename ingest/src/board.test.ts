import { randomUUID } from 'node:crypto'
import { type JobRecord, jobKey } from '@avatar/contracts'
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
function aStoppedBoard(present: JobRecord[] = []) {
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
  const board = createBoard({ records, clock, log })
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

async function aBoard(present: JobRecord[] = []) {
  const made = aStoppedBoard(present)
  await made.board.start()
  return made
}

describe('the board', () => {
  itKeepsTheRunnableContract(() => {
    const { board, atWork } = aStoppedBoard()
    return { runnable: board, atWork }
  })
})

const put = (value: JobRecord): Change<JobRecord> => ({
  ...{ key: jobKey(value.owner, value.jobId), value, revision: 1, isUpdate: true },
})

const job = (difference: Partial<JobRecord> = {}) => aJob({ jobId: randomUUID(), ...difference })

describe('the place in the queue', () => {
  it('goes by the time of queueing, then by id, with a pending job counted by its creation', async () => {
    const [a, b] = ['a', 'b'].map((c) => `${c.repeat(8)}-0000-4000-8000-000000000000`)
    const first = job({ queuedAtMs: 10 })
    const twins = [a, b].map((jobId) => aJob({ ...(jobId ? { jobId } : {}), queuedAtMs: 20 }))
    const pending = job({ state: 'pending', createdAtMs: 15 })
    const { board } = await aBoard([...twins.toReversed(), pending, first])
    const places = [first, pending, ...twins].map(({ jobId }) => board.queuePosition(jobId))
    expect(places).toEqual([1, 2, 3, 4])
    expect(board.queueDepth()).toBe(4)
  })

  it('ends when the job renders, and moves up when one ahead leaves', async () => {
    const ahead = job({ queuedAtMs: 1 })
    const behind = job({ queuedAtMs: 2 })
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

describe('the renders ahead of a job', () => {
  it('are those under way and those queued ahead of it, until they end', async () => {
    const ahead = job({ queuedAtMs: 1 })
    const own = job({ queuedAtMs: 2 })
    const rendering = job({ state: 'rendering', estimatedSeconds: 7 })
    const { board, change } = await aBoard([ahead, own, job({ queuedAtMs: 3 }), rendering])
    const ids = (of: JobRecord) => board.rendersAhead(of.jobId).map(({ jobId }) => jobId)
    expect(ids(own)).toEqual([rendering.jobId, ahead.jobId])
    expect(board.rendersAhead(own.jobId)[0]?.estimatedSeconds).toBe(7)
    change(put({ ...own, state: 'claimed' }))
    await until(() => board.queuePosition(own.jobId) === undefined)
    expect(ids(own)).toEqual([rendering.jobId])
    change(put({ ...rendering, state: 'completed' }))
    await until(() => ids(own).length === 0)
    const gone: Change<JobRecord> = { ...put(own), value: undefined }
    change(gone)
    await until(() => ids(ahead).length === 0)
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
