/** One job of a simulated life, and what its client does. */
export type PlannedJob = {
  atMs: number
  /** Of three: the second has twice the share, the third may render one job at a time. */
  owner: 0 | 1 | 2
  seconds: number
  isHigh: boolean
  door: 'rest' | 'event'
  /** How its renders go. */
  trouble: 'none' | 'fails once' | 'fails always' | 'unusable' | 'kills workers'
  cancelAfterMs: number | undefined
  /** How often its client sends the same request. */
  copies: number
  /** Ingest dies between the record and its event, and the client does not come again. */
  isAbandoned: boolean
}

/** Everything that can go wrong in a simulated life. */
export const faultKinds = [
  ...(['kill orchestrator', 'suspend orchestrator', 'cut orchestrator', 'set a clock'] as const),
  // Between a write and what follows from it.
  ...([
    'kill orchestrator at a write',
    'kill orchestrator at an end',
    'kill orchestrator at an event',
  ] as const),
  ...(['kill worker', 'suspend worker', 'cut worker', 'terminate worker', 'kill render'] as const),
  ...(['broker away', 'store away', 'kill janitor', 'lose messages'] as const),
] as const
export type FaultKind = (typeof faultKinds)[number]

/** One fault: who it hits is told by a number, so that a plan stays one when parts of it are left out. */
export type PlannedFault = { afterMs: number; kind: FaultKind; which: number; forMs: number }

/** A life from its beginning; everything else that is random in it follows from its seed. */
export type PlannedLife = {
  seed: number
  orchestrators: 1 | 2
  isScaled: boolean
  jobs: readonly PlannedJob[]
  faults: readonly PlannedFault[]
}

/** What came of a life. */
export type LivedLife = {
  /** Writes to the broker, requests, heartbeats excepted, and faults. */
  steps: number
  ends: Readonly<Record<string, number>>
  attempts: number
  simulatedSeconds: number
  /** One sentence each; none is a pass. */
  violations: readonly string[]
}
