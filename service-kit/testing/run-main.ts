const signals = ['SIGTERM', 'SIGINT'] as const
/** A service takes these over, and the tests' own listeners come back afterwards. */
const takenOver = ['uncaughtException', 'warning'] as const

/** A service running in this process, as `node src/main.ts` would run it in its own. */
export type RunningMain = {
  /** Sends a supervisor's signal and resolves with the exit code that the process would have. */
  stop(signal?: (typeof signals)[number]): Promise<number | undefined>
}

/**
 * Runs a `main.ts` in-process with the given environment, so that coverage sees its wiring. The
 * process does not end; the exit code is returned instead. Run one at a time.
 */
export function runMain(
  load: () => Promise<unknown>,
  env: Readonly<Record<string, string>>,
): RunningMain {
  const listenersBefore = new Map(signals.map((name) => [name, process.listeners(name)]))
  const ownBefore = takenOver.map((name) => [name, process.listeners(name as 'exit')] as const)
  const envBefore = { ...process.env }
  const exit = process.exit
  let code: number | undefined
  Object.assign(process.env, env)
  process.exit = (given) => {
    code ??= Number(given ?? 0)
    return undefined as never // The caller goes on, with nothing left to do.
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
        for (const [name, before] of ownBefore) {
          process.removeAllListeners(name)
          for (const listener of before) process.on(name, listener)
        }
      }
    },
  }
}
