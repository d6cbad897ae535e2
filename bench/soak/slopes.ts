/** One look at a process: when, and what it held. */
export type Look = { atSeconds: number; mebibytes: number; files: number }

const windowSeconds = 600

/** By how much a line through the looks rises in ten minutes: least squares. */
export function slopeOf(looks: readonly Look[], of: (look: Look) => number): number {
  const mean = (values: readonly number[]) =>
    values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
  const [midAt, midValue] = [mean(looks.map(({ atSeconds }) => atSeconds)), mean(looks.map(of))]
  let [above, below] = [0, 0]
  for (const look of looks) {
    const distance = look.atSeconds - midAt
    above += distance * (of(look) - midValue)
    below += distance ** 2
  }
  return below === 0 ? 0 : (windowSeconds * above) / below
}

/** The looks after the warm-up: caches and heaps reach their size in the first part. */
export function afterWarmUp(looks: readonly Look[], part = 1 / 3): readonly Look[] {
  return looks.slice(Math.floor(looks.length * part))
}
