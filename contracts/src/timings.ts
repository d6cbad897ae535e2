const second = 1_000
const minute = 60 * second
const hour = 60 * minute

/**
 * The waits of the protocol, in milliseconds: how long one process waits for another, for the broker or
 * for a deadline. Provisioning, both languages and the tests share them, and tests make them all
 * shorter at once. The timeout of a single client library's call stands beside that call.
 */
export const timings = {
  /** How often a worker sends its heartbeat. It also sends one at each change, but keeps the spacing. */
  beatEveryMs: 2 * second,
  beatSpacingMs: 250,
  /** An open attempt that no heartbeat has named for this long is lost. */
  silentAfterMs: 30 * second,
  watchEveryMs: 2 * second,
  /** The liveness watch pings the broker first. Without an answer within this it declares nothing lost. */
  watchRoundTripMs: second,
  /** When its last successful pass is longer ago than this, it declares nothing lost for the grace time. */
  watchGapMs: 10 * second,
  watchGraceMs: 45 * second,
  /** The orchestrator fails a job whose render runs this long past its deadline. */
  overdueAfterMs: 30 * second,

  gpuAckWaitMs: 45 * second,
  inProgressEveryMs: 10 * second,
  handlerAckWaitMs: 30 * second,
  /** The delay before a failed message is redelivered, doubled each time up to the maximum. */
  handlerBackoffMs: second,
  handlerBackoffMaxMs: 30 * second,
  storeAwayNakMs: 5 * second,

  requestTimeoutMs: 3 * second,
  claimAgainMs: 2 * second,
  laterNakMs: 10 * second,
  afterFailureNakMs: 2 * second,
  /** The delay of the next attempt after a death, doubled each time up to the maximum. */
  deathBackoffMs: second,
  deathBackoffMaxMs: 8 * second,
  /** A worker prefetches the next job when its render has this much left, or a tenth of its time. */
  prefetchBeforeEndMs: 15 * second,

  inputAgainMs: 2 * second,
  storeAgainMs: 3 * second,
  /** An upload that nobody has settled is reported again; longer than the stream's duplicate window. */
  reportAgainMs: 150 * second,
  uploadBackoffMs: second,
  uploadPauseMs: 10 * second,
  uploadGiveUpMs: 2 * hour,
  /** A transfer that moves no byte for this long is aborted and tried again. */
  transferStallMs: 30 * second,
  /** A worker releases what is still spooled this long after SIGTERM. */
  drainGraceMs: 25 * second,
  /** A render process that has not obeyed a stop within this is killed. */
  obeyStopMs: 3 * second,
  /** An engine that is not loaded within this hangs. From a cold network disk it takes a few minutes. */
  engineLoadMs: 20 * minute,
  /** The delay between failed loads of the engine, doubled each time up to the maximum. */
  reloadBackoffMs: second,
  reloadBackoffMaxMs: 10 * second,
  /** How often a worker with a full disk checks for free space. */
  roomAgainMs: 5 * second,

  /** The REST door answers 503 when a publish takes longer than this. */
  publishAtDoorMs: 2 * second,
  /** The REST door answers 503 when storing an input takes longer than this, all tries together. */
  storeAtDoorMs: 30 * second,
  /** An admission that has not created its record within this fails. */
  admissionMs: 10 * minute,
  reconcileEveryMs: minute,
  pendingStaleMs: minute,
  entryMissingMs: 30 * second,
  queueTimeoutMs: 24 * hour,
  sweepEveryMs: hour,
  /** How long an object without a record is kept; longer than any admission. */
  orphanAgeMs: hour,
  apiKeyCacheMs: 2 * second,
} as const

export type Timings = { readonly [Name in keyof typeof timings]: number }

/** How many times a worker asks for a claim before it hands the entry back. */
export const claimTries = 4

/** How many times an upload is tried before it stays spooled until later. */
export const uploadTries = 4

/** The same timings divided by `divisor`, none below a millisecond. Tests use 10. */
export function scaledTimings(divisor: number): Timings {
  const scaled = Object.entries(timings).map(([name, ms]) => [name, Math.max(1, ms / divisor)])
  return Object.freeze(Object.fromEntries(scaled)) as Timings // Object.fromEntries loses the keys.
}
