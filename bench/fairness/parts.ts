type Span = { sinceMs: number; untilMs: number }
type Render = Span & { owner: string }

const stepMs = 1_000

/**
 * The GPU seconds of an owner in a window, and what they are of those that its share gives it: the least
 * of all windows of this length within the whole.
 */
export function worstPart(
  renders: readonly Render[],
  shares: ReadonlyMap<string, number>,
  owner: string,
  whole: Span,
  windowMs: number,
): { gpuSeconds: number; part: number } {
  const allShares = [...shares.values()].reduce((sum, share) => sum + share, 0)
  const rightful = (shares.get(owner) ?? 0) / allShares
  let worst = { gpuSeconds: 0, part: Number.POSITIVE_INFINITY }
  for (let sinceMs = whole.sinceMs; sinceMs + windowMs <= whole.untilMs; sinceMs += stepMs) {
    const window = { sinceMs, untilMs: sinceMs + windowMs }
    const secondsOf = (of: (render: Render) => boolean) =>
      renders.filter(of).reduce((sum, render) => sum + overlapMs(render, window), 0) / 1000
    const gpuSeconds = secondsOf((render) => render.owner === owner)
    const part = gpuSeconds / (secondsOf((render) => shares.has(render.owner)) * rightful)
    if (part < worst.part) worst = { gpuSeconds, part }
  }
  return worst
}

function overlapMs(one: Span, other: Span): number {
  const sinceMs = Math.max(one.sinceMs, other.sinceMs)
  return Math.max(0, Math.min(one.untilMs, other.untilMs) - sinceMs)
}
