/** Time and waiting as an argument, so that tests can hold both in their hands. */
export type Clock = {
  /** Milliseconds since 1970, UTC. For what people and other processes read. */
  nowMs(): number
  /** Milliseconds that never jump. For measuring how long ago something was. */
  monotonicMs(): number
  /** Resolves after `ms`, or at once when the signal aborts; never rejects. */
  wait(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  wait: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve()
      const timer = setTimeout(done, ms)
      signal?.addEventListener('abort', done, { once: true })
      function done() {
        clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        resolve()
      }
    }),
}
