import { describe, expect, it } from 'vitest'
import {
  estimateRender,
  learnPace,
  learnStart,
  type Pace,
  paceKeyOf,
  renderSecondsAt,
  type StartPace,
} from './pace.ts'
import { startsInCapped, startsInSeconds } from './schedule.ts'

const framesPerChunk = 25
const render = (frames: number, seconds: number) => ({
  frames,
  seconds,
  framesPerChunk,
  storingSeconds: 0.5,
  secondsPerVideoSecond: 2,
  atMs: 1_700_000_000_000,
})

function learned(...renders: readonly (readonly [frames: number, seconds: number])[]): Pace {
  const pace = renders.reduce<Pace | undefined>(
    (known, [frames, seconds]) => learnPace(known, render(frames, seconds)),
    undefined,
  )
  if (!pace) throw new Error('nothing was learned')
  return pace
}

describe('the learned pace', () => {
  it('is fixed + chunks × perChunk, whatever the order of the renders', () => {
    const pace = learned([25, 5], [250, 23], [100, 11], [500, 43], [50, 7])
    expect(renderSecondsAt(pace, 125)).toBeCloseTo(3 + 5 * 2)
    expect(renderSecondsAt(pace, 1_000)).toBeCloseTo(3 + 40 * 2)
  })

  it('is the slope alone while all renders are equally long', () => {
    const pace = learned([100, 8], [100, 8.4], [100, 7.6], [100, 8])
    expect(renderSecondsAt(pace, 100)).toBeCloseTo(8, 0)
    expect(renderSecondsAt(pace, 200)).toBeCloseTo(16, 0)
  })

  it('counts chunks, not frames: one frame more takes a chunk more', () => {
    const pace = learned([25, 1], [50, 2], [75, 3])
    expect(renderSecondsAt(pace, 51)).toBeCloseTo(3)
  })

  it('follows an engine that has become twice as fast within some renders', () => {
    let pace = learned(...Array.from({ length: 30 }, () => [100, 8] as const))
    for (let i = 0; i < 40; i++) pace = learnPace(pace, render(100, 4))
    expect(renderSecondsAt(pace, 100)).toBeLessThan(4.8)
  })

  it('takes a hiccup for four times the expected time at most', () => {
    const steady = learned(...Array.from({ length: 10 }, () => [100, 8] as const))
    expect(learnPace(steady, render(100, 3_600))).toEqual(learnPace(steady, render(100, 32)))
    expect(learnPace(steady, render(100, 0.001))).toEqual(learnPace(steady, render(100, 2)))
  })

  it('takes a store that was away for four times the expected time at most', () => {
    const steady = learned(...Array.from({ length: 10 }, () => [100, 8] as const))
    const late = learnPace(steady, { ...render(100, 8), storingSeconds: 3_600 })
    expect(late.storingSeconds).toBeLessThan(1)
  })

  it('never takes less than nothing, however noisy few renders are', () => {
    const pace = learned([25, 9], [50, 1])
    for (const frames of [1, 25, 100, 10_000])
      expect(renderSecondsAt(pace, frames)).toBeGreaterThan(0)
  })

  it('begins anew when the engine renders other chunks', () => {
    const pace = learnPace(learned([100, 8], [200, 16]), { ...render(81, 9), framesPerChunk: 81 })
    expect(pace.samples).toBe(1)
    expect(renderSecondsAt(pace, 162)).toBeCloseTo(18)
  })
})

describe('the cold start of a pool', () => {
  const starts = (...seconds: readonly number[]) =>
    seconds.reduce<StartPace | undefined>(learnStart, undefined)

  it('is the median of its last nine starts', () => {
    expect(starts(50)).toEqual({ samples: 1, seconds: 50, recent: [50] })
    expect(starts(50, 70)?.seconds).toBe(60)
    expect(starts(50, 70, 52)?.seconds).toBe(52)
    const recent = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    expect(starts(900, 800, ...recent)).toEqual({ samples: 11, seconds: 5, recent })
  })

  it('goes on from the mean that an earlier version kept', () => {
    const known = { samples: 4, seconds: 50 }
    expect(learnStart(known, 100)).toEqual({ samples: 5, seconds: 75, recent: [50, 100] })
  })

  it('is within a factor of two of the next start after five, whatever strange ones there were', () => {
    // One start in six waits for a GPU, or finds everything in a cache.
    const isStrange = (pool: number, wake: number) => wake % 6 === pool % 6
    const secondsOf = (pool: number, wake: number) =>
      isStrange(pool, wake)
        ? [3, 300, 600, 900][(pool + wake) % 4]
        : 60 + ((pool * 17 + wake * 37) % 56)
    for (let pool = 0; pool < 200; pool++) {
      let known: StartPace | undefined
      for (let wake = 0; wake < 30; wake++) {
        const seconds = secondsOf(pool, wake) ?? 0
        if (known && wake >= 5 && !isStrange(pool, wake)) {
          const ratio = known.seconds / seconds
          expect(ratio, `${known.recent} before ${seconds}`).toBeGreaterThan(0.5)
          expect(ratio, `${known.recent} before ${seconds}`).toBeLessThan(2)
        }
        known = learnStart(known, seconds)
      }
    }
  })

  it('follows a pool whose starts have changed for good after five of them', () => {
    expect(starts(90, 90, 90, 90, 90, 90, 90, 90, 90, 30, 31, 32, 33, 34)?.seconds).toBe(34)
  })
})

describe('the estimate of a render', () => {
  const paceKey = { engine: 'infinitetalk', size: '720p', device: 'NVIDIA L40S', framesPerChunk }
  const paces = new Map([[paceKeyOf(paceKey), learned([25, 5], [50, 7], [100, 11])]])
  const estimate = (worker: Parameters<typeof estimateRender>[1]) =>
    estimateRender(100, worker, paces, 25)

  it('is by what was learned for engine, size and device', () => {
    expect(estimate({ paceKey, secondsPerVideoSecond: 99 })).toBeCloseTo(11)
  })

  it('is scaled from another device by both calibrations', () => {
    const other = { ...paceKey, device: 'NVIDIA H100' }
    expect(estimate({ paceKey: other, secondsPerVideoSecond: 1 })).toBeCloseTo(5.5)
  })

  it("is the worker's calibration for an engine that has rendered nothing yet", () => {
    const other = { ...paceKey, engine: 'preview' }
    expect(estimate({ paceKey: other, secondsPerVideoSecond: 0.8 })).toBeCloseTo(3.2)
    expect(estimate({ secondsPerVideoSecond: 0.8 })).toBeCloseTo(3.2)
    expect(estimate({ secondsPerVideoSecond: null })).toBeUndefined()
  })

  it('has a key of valid tokens', () => {
    expect(paceKeyOf(paceKey)).toBe('infinitetalk.720p.NVIDIA_L40S')
  })
})

describe('the schedule', () => {
  it('gives each job in turn to the worker that is free first', () => {
    const ahead = { seconds: [10, 1, 1, 1], restSeconds: 0 }
    expect(startsInSeconds([0, 0], ahead)).toBe(3)
    expect(startsInSeconds([0, 5], ahead)).toBe(8)
    expect(startsInSeconds([4], ahead)).toBe(17)
    expect(startsInSeconds([], ahead)).toBeUndefined()
  })

  it('equals a search for the first free worker, for many workers and jobs', () => {
    let seed = 7
    const random = () => {
      seed = (seed * 48_271) % 2_147_483_647
      return seed / 2_147_483_647
    }
    for (let round = 0; round < 50; round++) {
      const free = Array.from({ length: 1 + Math.floor(random() * 9) }, () => random() * 20)
      const seconds = Array.from({ length: Math.floor(random() * 60) }, () => random() * 30)
      const searched = [...free]
      for (const each of seconds) {
        const first = searched.indexOf(Math.min(...searched))
        searched[first] = (searched[first] ?? 0) + each
      }
      const starts = startsInSeconds(free, { seconds, restSeconds: 0 })
      expect(starts).toBeCloseTo(Math.min(...searched), 9)
    }
  })

  it('spreads the rest over all workers', () => {
    expect(startsInSeconds([2, 4], { seconds: [2], restSeconds: 100 })).toBe(54)
  })

  it("waits for the owner's own jobs where they are capped", () => {
    const ahead = { seconds: [3, 3], restSeconds: 0 }
    expect(startsInCapped({ freeInSeconds: [5], ahead, cap: 1 })).toBe(11)
    expect(startsInCapped({ freeInSeconds: [5], ahead, cap: 2 })).toBe(5)
    expect(startsInCapped({ freeInSeconds: [], ahead, cap: 10 })).toBe(0)
  })
})
