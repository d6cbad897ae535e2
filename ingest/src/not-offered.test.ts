import { needsOf, type Offers, plainNeeds } from '@avatar/contracts'
import { aRender } from '@avatar/contracts/testing'
import { describe, expect, it } from 'vitest'
import { createOfferCheck } from './not-offered.ts'
import type { LiveBeat } from './workers.ts'

const standard: Offers = {
  qualities: [{ quality: 'standard', secondsPerVideoSecond: 3 }],
  speakers: 1,
  video: false,
}
const high = needsOf({ how: { quality: 'high' } })
const { engineFacts } = aRender()

/** A check that has listened for long enough, unless it has just started. */
function refusal(
  needs: typeof high,
  world: {
    workers?: Partial<LiveBeat>[]
    told?: { pool: string; offers: Offers | undefined }[]
    scaledPool?: string
    listenedMs?: number
  } = {},
) {
  const { workers = [{ engineFacts }], scaledPool, listenedMs = 30_000 } = world
  let nowMs = 0
  const check = createOfferCheck({
    workers: {
      alive: () => workers.map((beat) => ({ beat: beat as LiveBeat, aheadMs: 0, seenMsAgo: 0 })),
      toldByPool: () => world.told ?? [{ pool: 'local', offers: standard }],
    },
    scale: { scaled: () => (scaledPool ? ({ pool: scaledPool } as never) : undefined) },
    clock: { monotonicMs: () => nowMs },
    timings: { silentAfterMs: 30_000 },
  })
  nowMs = listenedMs
  return check.refusalOf(needs)
}

describe('a job that nobody here does', () => {
  it('is refused, and what is offered is named', () => {
    expect(refusal(high)).toMatchObject({
      code: 'NOT_OFFERED',
      details: {
        needed: { quality: 'high', speakers: 1, video: false },
        offered: [{ qualities: ['standard'], speakers: 1, video: false }],
      },
    })
    expect(refusal(needsOf({ how: { speaker: 0 } }))).toBeUndefined()
    expect(refusal(plainNeeds)).toBeUndefined()
  })

  it.each([
    ['no worker is heard', { workers: [] }],
    ['one has not told yet', { workers: [{ engineFacts }, {}] }],
    ['the pool that is woken was never heard', { scaledPool: 'l40s' }],
    ['ingest has just started', { listenedMs: 29_999 }],
    [
      'one that does it was there before',
      {
        told: [
          { pool: 'local', offers: standard },
          {
            pool: 'l40s',
            offers: {
              ...standard,
              qualities: [{ quality: 'high' as const, secondsPerVideoSecond: 9 }],
            },
          },
        ],
      },
    ],
  ])('waits in doubt: %s', (_doubt, world) => {
    expect(refusal(high, world)).toBeUndefined()
  })
})
