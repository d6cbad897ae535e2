import { type Beat, type JobRecord, jobStates, stateTable } from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import type { ObjectStore } from '@avatar/service-kit'
import { describe, expect, it } from 'vitest'
import type { Board, RenderAhead } from './board.ts'
import { requireResult, resultView, statusView } from './views.ts'
import type { Workers } from './workers.ts'

const nowMs = 1_700_000_100_000

/** The view of a job, with the answers of the board and the workers given. */
function view(
  job: JobRecord,
  {
    position = 1,
    serving = 1,
    percent = 0,
    ahead = [],
  }: { position?: number; serving?: number; percent?: number; ahead?: RenderAhead[] } = {},
) {
  const board = {
    queuePosition: () => position,
    rendersAhead: () => ahead,
  } as Partial<Board> as Board
  const workers = {
    alive: (): { beat: Beat; seenMsAgo: number }[] => [],
    serving: () => serving,
    percentOf: () => percent,
  } as Partial<Workers> as Workers
  return statusView(job, { board, workers, nowMs })
}

describe('what a client sees of a state', () => {
  it.each(jobStates)('%s: status and stage are those of the state table', (state) => {
    const { status, stage } = view(aJob({ state }))
    expect(status).toBe(stateTable[state].status)
    expect(stateTable[state].stage.split(' or ')).toContain(stage)
  })

  it('is waiting for a worker while none takes jobs', () => {
    expect(view(aJob({ state: 'queued' }), { serving: 0 })).toMatchObject({
      stage: 'waiting_for_worker',
      queue_position: 1,
      estimated_completion_at: null,
    })
  })
})

describe('progress', () => {
  it.each([
    ['queued', 50, 0],
    ['claimed', 50, 0],
    ['rendering', 42.34, 42.3],
    ['rendering', 100, 98],
    ['cancelling', 42, 42],
    ['storing', 42, 99],
    ['completed', 0, 100],
    ['failed', 42, 0],
  ] as const)('of a job that is %s at %d percent is %d', (state, percent, progress) => {
    expect(view(aJob({ state }), { percent }).progress).toBe(progress)
  })
})

describe('the estimate', () => {
  const estimatedEnd = (job: JobRecord, world = {}) => {
    const { estimated_completion_at: at } = view(job, world)
    return at === null ? null : Date.parse(at) - nowMs
  }
  const estimatedSeconds = 10

  it('adds the renders ahead of a waiting job, shared by the workers', () => {
    const queued = aJob({ state: 'queued', estimatedSeconds })
    const [long, short] = [40, 5].map((seconds) =>
      aJob({ state: 'queued', estimatedSeconds: seconds }),
    ) as [JobRecord, JobRecord]
    expect(estimatedEnd(queued)).toBe(10_000)
    expect(estimatedEnd(queued, { ahead: [long, short] })).toBe(55_000)
    expect(estimatedEnd(queued, { ahead: [long, short, short], serving: 2 })).toBe(20_000)
    expect(estimatedEnd(queued, { ahead: [long], serving: 2 })).toBe(10_000)
  })

  it('adds what is left of the render under way, by its own pace', () => {
    const waiting = aJob({ state: 'claimed', estimatedSeconds })
    const rendering = aJob({
      state: 'rendering',
      estimatedSeconds: 100,
      startedAtMs: nowMs - 60_000,
    })
    expect(estimatedEnd(waiting, { ahead: [rendering], percent: 5 })).toBe(50_000)
    expect(estimatedEnd(waiting, { ahead: [rendering], percent: 20 })).toBe(250_000)
  })

  it('follows the estimate at first and the pace of the render later, and never lies in the past', () => {
    const rendering = aJob({ state: 'rendering', estimatedSeconds, startedAtMs: nowMs - 2_000 })
    expect(estimatedEnd(rendering, { percent: 5 })).toBe(8_000)
    expect(estimatedEnd(rendering, { percent: 50 })).toBe(2_000)
    expect(estimatedEnd({ ...rendering, startedAtMs: nowMs - 60_000 }, { percent: 1 })).toBe(0)
  })

  it('is now for a job being stored, the end for one that has ended, and unknown for one being cancelled', () => {
    expect(estimatedEnd(aJob({ state: 'storing' }))).toBe(0)
    expect(estimatedEnd(aJob({ state: 'completed', finishedAtMs: nowMs - 500 }))).toBe(-500)
    expect(estimatedEnd(aJob({ state: 'cancelling' }))).toBeNull()
  })
})

describe('the result', () => {
  const done = aJob({ state: 'completed', result: aRender(), expiresAtMs: nowMs + 1 })

  it('exists until the moment of its expiry', () => {
    expect(requireResult(done, nowMs)).toEqual(aRender())
    expect(() => requireResult(done, nowMs + 1)).toThrow(
      expect.objectContaining({ code: 'RESULT_DELETED' }),
    )
    expect(() => requireResult({ ...done, deletedAtMs: 1 }, nowMs)).toThrow(
      expect.objectContaining({ code: 'RESULT_DELETED' }),
    )
  })

  it('is missing for a job that has none, whatever its state', () => {
    for (const state of jobStates)
      expect(() => requireResult(aJob({ state }), nowMs)).toThrow(
        expect.objectContaining({
          code: 'JOB_NOT_COMPLETED',
          details: { status: stateTable[state].status },
        }),
      )
  })

  it('describes the video, the engine and how it rendered', async () => {
    const objects = { presignDownload: async () => 'http://s3/x' } as Partial<ObjectStore>
    const made = aRender({ engine: 'preview', degraded: true, renderSeconds: 3 })
    const when = { nowMs, maxSeconds: 60 }
    expect(await resultView(objects as ObjectStore, done, made, when)).toMatchObject({
      ...{ url: 'http://s3/x', engine: 'preview', degraded: true, render_seconds: 3 },
      ...{ width: made.width, height: made.height, fps: 25, sha256: made.sha256 },
      expires_at: new Date(nowMs + 1).toISOString(),
    })
  })
})
