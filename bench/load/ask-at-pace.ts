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
