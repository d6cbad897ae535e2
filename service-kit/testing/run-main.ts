const signals = ['SIGTERM', 'SIGINT'] as const

/** A service that runs in this very process, as `node src/main.ts` would run it in its own. */
export type RunningMain = {
  /** Sends the signal of a supervisor and resolves with the code the process would end with. */
  stop(signal?: (typeof signals)[number]): Promise<number | undefined>
}

/**
 * Runs a `main.ts` in-process with the given environment, so that its wiring is measured too. The
 * process does not end: what it would have ended with is returned. One at a time.
 */
export function runMain(
  load: () => Promise<unknown>,
  env: Readonly<Record<string, string>>,
): RunningMain {
  const listenersBefore = new Map(signals.map((name) => [name, process.listeners(name)]))
  const envBefore = { ...process.env }
  const exit = process.exit
  let code: number | undefined
  Object.assign(process.env, env)
  process.exit = (given) => {
    code ??= Number(given ?? 0)
    return undefined as never // It goes on, and has nothing left to do.
  }
  const running = load()

  return {
    async stop(signal = 'SIGTERM') {
      process.emit(signal, signal)
      try {
        await running
        return code
      } finally {
        process.exit = exit
        process.env = envBefore
        for (const [name, before] of listenersBefore)
          for (const listener of process.listeners(name))
            if (!before.includes(listener)) process.removeListener(name, listener)
      }
    },
  }
}
