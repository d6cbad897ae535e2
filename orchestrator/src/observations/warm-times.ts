/** So many changes are remembered: of a day in which workers come and go every few minutes. */
const changesKept = 1_000

/**
 * When a worker was ready or rendering. Pure: times are arguments, by the broker's clock. Before the first
 * note nothing is known; what was found first counts for that time too.
 */
export function createWarmTimes() {
  const changes: { atMs: number; isWarm: boolean }[] = []
  return {
    note(isWarm: boolean, atMs: number): void {
      if (changes.at(-1)?.isWarm === isWarm) return
      changes.push({ atMs, isWarm })
      if (changes.length > changesKept) changes.shift()
    },
    wasWarmAt(atMs: number): boolean {
      const last = changes.findLast((change) => change.atMs <= atMs) ?? changes[0]
      return last?.isWarm ?? false
    },
  }
}
