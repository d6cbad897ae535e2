import { pick, seededRandom } from '@avatar/service-kit/testing'

/**
 * What can go wrong with a doorbell. `429`, `500`, `no-credit`: refused. `lost`: taken, and forgotten.
 * `doubled`: given to two workers. `reply-lost`: taken, and the connection breaks before the answer.
 * `late`: taken, and rung only after a while.
 */
export const ringTroubles = ['429', '500', 'lost', 'doubled', 'reply-lost', 'late'] as const
export type RingTrouble = (typeof ringTroubles)[number] | 'no-credit'

export type TroubleOptions = {
  seed: number
  /** Of the doorbells that go wrong in some way, 0 to 1: a few of them already hold it. */
  share: number
  kinds?: readonly RingTrouble[]
}

export type RingTroubles = ReturnType<typeof createRingTroubles>

/** Decides about each doorbell; the same seed gives the same decisions. Chance decides how one goes wrong. */
export function createRingTroubles({ seed, share, kinds = ringTroubles }: TroubleOptions) {
  const random = seededRandom(seed)
  let ofAll = share
  /** How far the share has grown towards the next doorbell that goes wrong. */
  let owed = random(1_000) / 1_000
  let next: (RingTrouble | 'well')[] = []
  let spell: RingTrouble | undefined
  const counts = new Map<RingTrouble | 'well', number>()

  function decide(): RingTrouble | 'well' {
    const planned = next.shift()
    if (planned) return planned
    if (spell) return spell
    owed += ofAll
    if (owed < 1) return 'well'
    owed -= 1
    return pick(kinds, random)
  }

  return {
    /** How this doorbell goes. */
    draw() {
      const drawn = decide()
      counts.set(drawn, (counts.get(drawn) ?? 0) + 1)
      return drawn
    },
    /** Exactly how the next doorbells go, before chance decides again. */
    plan(kinds: readonly (RingTrouble | 'well')[]) {
      next = [...next, ...kinds]
    },
    /** From now on each doorbell goes like this; undefined ends it. */
    setSpell(kind: RingTrouble | undefined) {
      spell = kind
    },
    setShare(share: number) {
      ofAll = share
    },
    /** A chance of one in so many, by the same seed. */
    chance: (oneIn: number) => random(oneIn) === 0,
    random,
    counts: () => Object.fromEntries(counts),
  }
}
