/** How a run of a process ended. */
type EndedRun = {
  lastedMs: number
  /** Whether somebody ended it: then nothing is wrong with the process itself. */
  wasEnded: boolean
}

/** Then it is back within a second. */
const endedPauseMs = 300
/** One that is ended as soon as it starts must not spin. */
const endedEarlyPauseMs = 500
const earlyMs = 5_000

const firstPauseMs = 1_000
const longestPauseMs = 60_000
/** After a run of this length the pauses begin anew. */
const goodRunMs = 60_000

/** The pauses before the restarts of one process: they double as long as it keeps failing. */
export function createRestartPauses(): (run: EndedRun) => number {
  let failures = 0
  return ({ lastedMs, wasEnded }) => {
    if (lastedMs >= goodRunMs) failures = 0
    if (wasEnded) return lastedMs < earlyMs ? endedEarlyPauseMs : endedPauseMs
    failures += 1
    return Math.min(firstPauseMs * 2 ** (failures - 1), longestPauseMs)
  }
}
