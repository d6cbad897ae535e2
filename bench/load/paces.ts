import { setTimeout as pause } from 'node:timers/promises'

/** How long each answer took in milliseconds, and how many were asked for in a second. */
export type Asked = { tookMs: number[]; aSecond: number }

/**
 * Asks so many times a second until the returned function is called, whether or not the answers before have
 * come: whoever waits for them asks less, the slower they are.
 */
export function askAtPace(aSecond: number, ask: () => Promise<number>): () => Promise<Asked> {
  const sinceMs = performance.now()
  const answers: Promise<number>[] = []
  const isOver = new AbortController()
  const asking = (async () => {
    if (aSecond === 0) return
    for (let nextMs = sinceMs; !isOver.signal.aborted; nextMs += 1000 / aSecond) {
      const answer = ask()
      answer.catch(() => undefined) // Whoever calls for the answers is told.
      answers.push(answer)
      await pause(Math.max(0, nextMs + 1000 / aSecond - performance.now()))
    }
  })()
  return async () => {
    isOver.abort()
    const askedForMs = performance.now() - sinceMs
    await asking
    return { tookMs: await Promise.all(answers), aSecond: answers.length / (askedForMs / 1000) }
  }
}

/** Does so many a second, numbered from 0, whether or not those before are done. */
export async function doAtPace(
  aSecond: number,
  count: number,
  act: (number: number) => Promise<void>,
): Promise<void> {
  const sinceMs = performance.now()
  const acts: Promise<void>[] = []
  while (acts.length < count) {
    const acting = act(acts.length)
    acting.catch(() => undefined) // Whoever waits for all of them is told.
    acts.push(acting)
    await pause(Math.max(0, sinceMs + (acts.length * 1000) / aSecond - performance.now()))
  }
  await Promise.all(acts)
}

/** Does as many at once, each of them the next number when it is done. */
export async function doAtOnce(
  atOnce: number,
  count: number,
  act: (number: number) => Promise<void>,
): Promise<void> {
  let next = 0
  const actOn = async () => {
    while (next < count) await act(next++)
  }
  await Promise.all(Array.from({ length: atOnce }, actOn))
}
