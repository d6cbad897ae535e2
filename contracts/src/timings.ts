const second = 1_000
const minute = 60 * second
const hour = 60 * minute

/**
 * Every wait and back-off of the system, in milliseconds. Provisioning takes the consumers' ack
 * waits from here too, and the Python side gets the same numbers generated.
 */
export const timings = {
  /** A worker says so often that it lives, and at each change, but not more often than the next line. */
  beatEveryMs: 2 * second,
  beatSpacingMs: 250,
  /** An open attempt that no beat has named for so long is lost. */
  silentAfterMs: 30 * second,
  watchEveryMs: 2 * second,
  /** The watch asks the broker first; without an answer in this time there is no verdict. */
  watchRoundTripMs: second,
  /** If the last successful pass is further back than this, nothing is declared lost for the grace time. */
  watchGapMs: 10 * second,
  watchGraceMs: 45 * second,
  /** A running child this far past its deadline is reported by the orchestrator. */
  overdueAfterMs: 30 * second,

  gpuAckWaitMs: 45 * second,
  inProgressEveryMs: 10 * second,
  handlerAckWaitMs: 30 * second,
  /** Asked of the broker between failed attempts of a handler, doubled each time up to the maximum. */
  handlerBackoffMs: second,
  handlerBackoffMaxMs: 30 * second,
  storeAwayNakMs: 5 * second,

  requestTimeoutMs: 3 * second,
  claimAgainMs: 2 * second,
  laterNakMs: 10 * second,
  afterFailureNakMs: 2 * second,
  /** Deaths put the next attempt off by this, doubled each time up to the maximum. */
  deathBackoffMs: second,
  deathBackoffMaxMs: 8 * second,
  /** The next job is pulled when the current render has this much left (or a tenth of itself). */
  prefetchBeforeEndMs: 15 * second,

  inputAgainMs: 2 * second,
  storeAgainMs: 3 * second,
  /** An upload that nobody settles is reported again; longer than the stream's window of duplicates. */
  reportAgainMs: 150 * second,
  uploadBackoffMs: second,
  uploadPauseMs: 10 * second,
  uploadGiveUpMs: 2 * hour,
  /** A transfer that moves no byte for so long is given up and tried again. */
  transferStallMs: 30 * second,
  /** What is still spooled this long after SIGTERM is released. */
  drainGraceMs: 25 * second,
  /** A render process that does not obey a stop within this is killed. */
  obeyStopMs: 3 * second,
  /** An engine that is not loaded within this hangs; a cold network disk takes a few minutes. */
  engineLoadMs: 20 * minute,
  /** Between failed loads of the engine, doubled each time up to the maximum. */
  reloadBackoffMs: second,
  reloadBackoffMaxMs: 10 * second,
  /** How often a worker with a full disk looks whether there is room again. */
  roomAgainMs: 5 * second,

  /** A publish at the REST door answers 503 after this. */
  publishAtDoorMs: 2 * second,
  /** So long the REST door waits for the inputs to be stored, all tries together; then 503. */
  storeAtDoorMs: 30 * second,
  /** An admission that has not created its record within this gives up. */
  admissionMs: 10 * minute,
  reconcileEveryMs: minute,
  pendingStaleMs: minute,
  entryMissingMs: 30 * second,
  queueTimeoutMs: 24 * hour,
  sweepEveryMs: hour,
  /** Objects without any record live this long; longer than any admission. */
  orphanAgeMs: hour,
  apiKeyCacheMs: 2 * second,
} as const

export type Timings = { readonly [Name in keyof typeof timings]: number }

/** How many times a claim is asked before the entry is handed back. */
export const claimTries = 4

/** How many times an upload is tried before it is spooled and offered again later. */
export const uploadTries = 4

/** The same timings, `divisor` times shorter: tests run with 10. Never below a millisecond. */
export function scaledTimings(divisor: number): Timings {
  const scaled = Object.entries(timings).map(([name, ms]) => [name, Math.max(1, ms / divisor)])
  return Object.freeze(Object.fromEntries(scaled)) as Timings // Object.fromEntries forgets the keys.
}
