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

  handlerAckWaitMs: 30 * second,
  /** The delay before a failed message is redelivered, doubled each time up to the maximum. */
  handlerBackoffMs: second,
  handlerBackoffMaxMs: 30 * second,
  storeAwayNakMs: 5 * second,

  requestTimeoutMs: 3 * second,
  /** An idle worker's ask waits this long for a job to come. */
  askParkMs: 2 * second,
  /** A worker waits this much longer for its answer than it asked to. */
  askExtraMs: second,
  /** A worker that still renders asks again this long after `none`; so does one whom nobody hears. */
  askAgainMs: second,
  /** An ask is answered only until this long after its wait: then nobody reads the answer. */
  askGraceMs: 500,
  /** An orchestrator whose clock jumps by more than this was suspended: the asks it holds are old. */
  suspendedAfterMs: 2 * second,
  /** An orchestrator answers asks once it has read all records, or this long after its start. */
  listenAfterMs: 15 * second,
  /** The write of a claim is given up after this: a late one would claim a job for nobody. */
  claimWriteMs: 2 * second,
  /** A worker whose own disk or engine let it down takes no job for this long. */
  troubleAgainMs: 10 * second,
  /** How long a worker goes on naming an attempt whose end it has told. */
  endedNamedMs: minute,
  /** GPU time by which a job of high priority may run ahead of its owner's share. */
  highHeadStartMs: minute,
  /** An event waits this long for its publisher's, or the service's, jobs to become fewer. */
  quotaAgainMs: 15 * second,
  /** How often a worker's time is posted to the ledger. */
  workerPostingEveryMs: minute,
  /** The delay of the next attempt after a death, doubled each time up to the maximum. */
  deathBackoffMs: second,
  deathBackoffMaxMs: 8 * second,
  /** A worker prefetches the next job when its render has this much left, or a tenth of its time. */
  prefetchBeforeEndMs: 15 * second,

  /** How often the orchestrator decides how many workers there should be. */
  scaleEveryMs: 5 * second,
  /** An orchestrator that has not decided for so long is followed by another one. */
  scalerLeaseMs: 15 * second,
  /** After its start or a reconnection an orchestrator listens for so long to who is there. */
  scaleQuietMs: 15 * second,
  /** A wake-up whose ringing was not noted for so long is rung again, under the same id. */
  ringAgainMs: 30 * second,
  /** A wake-up for which no worker has come within this is lost. */
  wakeDeadlineMs: 10 * minute,
  /** A wake-up whose worker no heartbeat has named for so long has ended. */
  wakeSilentMs: minute,
  /** A worker whom nobody answers asks again this long after, whether to stay. */
  helloAgainMs: 2 * second,
  /** And leaves after this. */
  helloGiveUpMs: minute,
  /** A provider that refuses is asked again after this, doubled each time up to the maximum. */
  ringBackoffMs: 30 * second,
  ringBackoffMaxMs: 5 * minute,
  /** How long a call of the provider's API may take. */
  providerTimeoutMs: 10 * second,
  /** How often the provider is asked how it stands. */
  surveyEveryMs: hour,
  /** And right before the first wake-up after so long without any. */
  surveyAfterSilenceMs: 12 * hour,
  /** While something is amiss there, and after it was put right, it is asked this often. */
  surveyAgainMs: minute,
  /** How long all of a provider's workers may wait for a GPU, before another kind is asked for. */
  noCapacityAfterMs: 10 * minute,
  /** The preferred kind of GPU is asked for again after this. */
  otherGpusForMs: hour,
  /** A provider sets an endpoint that is not used for days to no workers: a sign of life this often. */
  signOfLifeEveryMs: 48 * hour,
  /** A provider goes on booking a day for so long after its end. */
  billClosedAfterMs: 6 * hour,
  /** A bill that could not be had is asked for again after this. */
  billAgainMs: hour,

  inputAgainMs: 2 * second,
  storeAgainMs: 3 * second,
  /** An upload that nobody has settled is reported again; longer than the stream's duplicate window. */
  reportAgainMs: 150 * second,
  uploadBackoffMs: second,
  uploadPauseMs: 10 * second,
  uploadGiveUpMs: 2 * hour,
  /** A transfer that moves no byte for this long is aborted and tried again. */
  transferStallMs: 30 * second,
  /** What a worker with a lifetime keeps of it behind the longest render, to upload and to leave. */
  lifetimeReserveMs: minute,
  /** A worker releases what is still spooled this long after SIGTERM. */
  drainGraceMs: 25 * second,
  /** A render process that has not acknowledged an order within this is killed and replaced. */
  takeOrderMs: 10 * second,
  /** A render process that has not obeyed a stop within this is killed. */
  obeyStopMs: 3 * second,
  /** An engine that is not loaded within this hangs. From a cold network disk it takes a few minutes. */
  engineLoadMs: 20 * minute,
  /** The delay between failed loads of the engine, doubled each time up to the maximum. */
  reloadBackoffMs: second,
  reloadBackoffMaxMs: 10 * second,
  /** How often a worker with a full disk checks for free space. */
  roomAgainMs: 5 * second,

  /** The REST door closes a connection whose request has not sent its whole head within this. */
  requestHeadMs: 20 * second,
  /** An upload of which no byte arrives for this long is refused. */
  uploadIdleMs: 30 * second,
  /** An upload may take this long, however steadily it arrives: the largest needs 36 kB/s. */
  uploadMs: 30 * minute,
  /** The REST door answers 503 when a publish takes longer than this. */
  publishAtDoorMs: 2 * second,
  /** A pass of a loop fails when a publish takes longer than this; the next pass publishes it again. */
  publishInPassMs: 10 * second,
  /** The REST door answers 503 when storing an input takes longer than this, all tries together. */
  storeAtDoorMs: 30 * second,
  /** An admission that has not created its record within this fails. */
  admissionMs: 10 * minute,
  reconcileEveryMs: minute,
  pendingStaleMs: minute,
  /** An event whose handler has not changed the record within this is published again. */
  behindMs: 30 * second,
  /** How often the orchestrator reads every record beside its view of them. */
  viewCheckEveryMs: hour,
  queueTimeoutMs: 24 * hour,
  sweepEveryMs: hour,
  /** How long an object without a record is kept; longer than any admission. */
  orphanAgeMs: hour,
  apiKeyCacheMs: 2 * second,
  /** How long a token opens event streams. */
  eventTokenMs: 15 * minute,
  /** The same failure of one customer gets one line with a count in this time. */
  repeatedFailureMs: minute,
  /** A terminal event that is missing this long after the job's end is not waited for. */
  endMissingMs: minute,
} as const

export type Timings = { readonly [Name in keyof typeof timings]: number }

/** How many times an upload is tried before it stays spooled until later. */
export const uploadTries = 4

/** The same timings divided by `divisor`, none below a millisecond. Tests use 10. */
export function scaledTimings(divisor: number): Timings {
  const scaled = Object.entries(timings).map(([name, ms]) => [name, Math.max(1, ms / divisor)])
  return Object.freeze(Object.fromEntries(scaled)) as Timings // Object.fromEntries loses the keys.
}
