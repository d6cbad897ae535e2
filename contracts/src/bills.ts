/** How far a provider's bill may be from the workers' own clocks. */
export const billTolerance = 0.05

/** How far the two are apart, as a part of the bill; all of it when nothing was billed. */
export function billDifference(billMicros: number, workerMicros: number): number {
  if (billMicros === workerMicros) return 0
  return billMicros === 0 ? 1 : Math.abs(billMicros - workerMicros) / billMicros
}
