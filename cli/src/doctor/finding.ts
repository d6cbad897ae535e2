/** One thing that can be wrong: what was seen, and the command or the hint that repairs it. */
export type Finding = { name: string; isGood: boolean; seen: string; repair?: string }

/** A finding. Only a bad one gets the repair. */
export function finding(name: string, isGood: boolean, seen: string, repair: string): Finding {
  return isGood ? { name, isGood, seen } : { name, isGood, seen, repair }
}

/** The finding of a check that may throw: what it threw is what was seen. */
export async function findingOf(
  name: string,
  repair: string,
  look: () => Promise<string>,
): Promise<Finding> {
  try {
    return finding(name, true, await look(), repair)
  } catch (error) {
    return finding(name, false, describe(error), repair)
  }
}

/** The message of an error and of what caused it. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : ` (${describe(error.cause)})`
  return `${error.message}${cause}`
}
