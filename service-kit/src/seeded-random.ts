/** Random whole numbers below a bound; the same seed gives the same numbers (mulberry32). */
export type Random = (below: number) => number

export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

/**
 * One of the items, each as likely as another.
 *
 * @throws Error when there is none
 */
export function pick<T>(items: readonly T[], random: Random): T {
  if (items.length === 0) throw new Error('there is nothing to pick from')
  return items[random(items.length)] as T // The number is below the length.
}
