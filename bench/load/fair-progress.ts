/** How the least and the most served key fared, as parts of an equal share; 1 is fair. */
export type Fairness = { least: number; most: number }

/**
 * Looks at the first half of the ends: at the end of a queue everybody has been served. Keys have equally
 * many jobs, all alike.
 */
export function fairnessOf(owners: readonly string[], keys: number): Fairness {
  const half = owners.slice(0, Math.floor(owners.length / 2))
  const counts = [...Map.groupBy(half, (owner) => owner).values()].map(({ length }) => length)
  const share = half.length / keys
  if (share === 0) return { least: Number.NaN, most: Number.NaN }
  const least = counts.length < keys ? 0 : Math.min(...counts)
  return { least: least / share, most: Math.max(...counts) / share }
}
