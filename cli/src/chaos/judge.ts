import {
  type AnyEvent,
  eventId,
  isTerminal,
  type JobRecord,
  jobIdOfKey,
  outputPrefix,
} from '@avatar/contracts'

/** A submission that the system took: its client got an id, or the broker stored its event. */
export type Accepted = {
  jobId: string
  owner: string
  /** Its idempotency key. */
  name: string
}

/** What a client once saw of its job. */
export type Sighting = {
  jobId: string
  attempt: number
  /** Undefined where the view told none; see `driveJobs`. */
  progress: number | undefined
  isOver: boolean
}

/** What remains of a run, from outside the services. */
export type Evidence = {
  accepted: readonly Accepted[]
  records: readonly JobRecord[]
  /** All of the stream, in its order. */
  events: readonly AnyEvent[]
  objects: readonly { key: string; ageMs: number }[]
  /** In the order in which they were made. */
  sightings: readonly Sighting[]
  /** Answers to somebody who asked for another owner's job. */
  foreignAnswers: readonly { jobId: string; status: number }[]
  /** When each fault began and ended. */
  faults: readonly { fromMs: number; untilMs: number }[]
  /** When all this was read, by the broker's clock. */
  nowMs: number
  /** An object that nobody needs may stay until the first sweep behind this age. */
  orphanAgeMs: number
  /** From one sweep to the next. */
  sweepEveryMs: number
  /** How long after its time a deletion may come. */
  deletionGraceMs: number
}

/** What a run says about one invariant. */
export type Verdict = {
  invariant: 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'I6' | 'I7'
  promise: string
  /** How many facts were looked at. */
  checked: number
  /** One sentence each; none is a pass. */
  violations: readonly string[]
}

type EndType = 'job.completed' | 'job.failed' | 'job.cancelled'
const endTypes: ReadonlySet<string> = new Set<EndType>([
  'job.completed',
  'job.failed',
  'job.cancelled',
])

/** A fault shows itself a moment after it ended: a heartbeat is missed, a connection is found dead. */
const aftermathMs = 60_000

/**
 * Decides from what remains of a run whether the promises were kept. It knows which submissions were
 * accepted, and nothing of how the system works beyond its contracts.
 */
export function judge(evidence: Evidence): Verdict[] {
  const view = viewOf(evidence)
  return [
    everyJobEnds(evidence, view),
    oneEnd(evidence, view),
    oneOutput(evidence, view),
    nothingGoesBack(evidence, view),
    attemptsNeedFaults(evidence, view),
    ownersAreApart(evidence, view),
    oneKeyOneJob(evidence),
  ]
}

type View = ReturnType<typeof viewOf>

function viewOf({ records, events }: Evidence) {
  const recordOf = new Map(records.map((record) => [record.jobId, record]))
  const eventsOf = Map.groupBy(events, ({ jobId }) => jobId)
  return {
    recordOf,
    eventsOf: (jobId: string) => eventsOf.get(jobId) ?? [],
    endsOf: (jobId: string) => (eventsOf.get(jobId) ?? []).filter(({ type }) => endTypes.has(type)),
  }
}

function everyJobEnds({ accepted }: Evidence, { recordOf }: View): Verdict {
  const violations = accepted.flatMap(({ jobId, name }) => {
    const record = recordOf.get(jobId)
    if (!record) return [`${name}: ${jobId} was accepted and has no record`]
    return isTerminal(record) ? [] : [`${jobId} is ${record.state} and has not ended`]
  })
  const promise = 'every accepted job ends'
  return { invariant: 'I1', promise, checked: accepted.length, violations }
}

function oneEnd({ accepted }: Evidence, { recordOf, endsOf }: View): Verdict {
  const violations = accepted.flatMap(({ jobId }) => {
    const ids = [...new Set(endsOf(jobId).map(eventId))]
    if (ids.length !== 1) return [`${jobId} has ${ids.length} ends: ${ids.join(', ') || 'none'}`]
    const state = recordOf.get(jobId)?.state
    const told = endsOf(jobId)[0]?.type
    return told === `job.${state}` ? [] : [`${jobId} is ${state}, and its event says ${told}`]
  })
  const promise = 'one event ends it, and says what its record says'
  return { invariant: 'I2', promise, checked: accepted.length, violations }
}

function oneOutput({ accepted, objects, ...rest }: Evidence, { recordOf }: View): Verdict {
  const { nowMs, orphanAgeMs, sweepEveryMs, deletionGraceMs } = rest
  const stays = objects.flatMap(({ key, ageMs }) => {
    const jobId = jobIdOfKey(key)
    if (jobId === undefined) return []
    const record = recordOf.get(jobId)
    const isUnswept = ageMs <= sweepEveryMs + deletionGraceMs
    const isOld = ageMs > orphanAgeMs + sweepEveryMs + deletionGraceMs
    const old = `stays, ${Math.round(ageMs / 1000)} s old`
    if (!record) return isOld ? [`${key} ${old}, and belongs to no job`] : []
    const overdueMs = nowMs - deletionGraceMs - (record.expiresAtMs ?? Infinity)
    if (isTerminal(record) && overdueMs > 0) {
      const deletedMsAgo = nowMs - (record.deletedAtMs ?? Infinity)
      // Whoever was killed or suspended on the way may have stored it behind the deletion.
      const isLate = ageMs < deletedMsAgo + deletionGraceMs
      if (isLate && isUnswept) return []
      const since = isLate ? `; its job was deleted ${Math.round(deletedMsAgo / 1000)} s ago` : ''
      return [`${key} ${old}, past the time of its job${since}`]
    }
    const isOutput = key.startsWith(outputPrefix(jobId))
    const isNeeded = !isTerminal(record) || key === record.result?.key
    return isOutput && !isNeeded && isOld ? [`${key} ${old}, and is not the result of its job`] : []
  })
  const present = new Set(objects.map(({ key }) => key))
  const gone = accepted.flatMap(({ jobId }) => {
    const record = recordOf.get(jobId)
    if (record?.state !== 'completed' || nowMs >= (record.expiresAtMs ?? 0)) return []
    const key = record.result?.key
    return key !== undefined && present.has(key) ? [] : [`${jobId} is completed without its video`]
  })
  const promise = 'one stored video for each completed job, nothing for others past its time'
  const violations = [...stays, ...gone]
  return { invariant: 'I3', promise, checked: objects.length + accepted.length, violations }
}

function nothingGoesBack(evidence: Evidence, { recordOf, eventsOf, endsOf }: View): Verdict {
  const byEvents = evidence.accepted.flatMap(({ jobId }) => {
    const [end] = endsOf(jobId)
    const facts = eventsOf(jobId)
    const record = recordOf.get(jobId)
    const known = facts.filter(({ epoch }) => epoch > (record?.epoch ?? Infinity))
    const back = known.map(({ type, epoch }) => `${jobId} went back behind epoch ${epoch}: ${type}`)
    const starts = facts
      .filter(({ type, revision }) => type === 'job.started' && revision > 0)
      .toSorted((a, b) => a.revision - b.revision)
    const falls = starts.flatMap(({ epoch }, at) =>
      epoch < (starts[at - 1]?.epoch ?? 0) ? [`${jobId} started epoch ${epoch} after a later`] : [],
    )
    const later = facts.filter(
      ({ type, revision }) =>
        (type === 'job.queued' || type === 'job.started') && end && revision > end.revision,
    )
    return [...back, ...falls, ...later.map(({ type }) => `${jobId} left its end: ${type}`)]
  })
  const last = new Map<string, Sighting>()
  const furthest = new Map<string, number>()
  const bySight = evidence.sightings.flatMap((sighting) => {
    const { jobId, attempt, progress, isOver } = sighting
    const before = last.get(jobId)
    last.set(jobId, sighting)
    if (progress !== undefined) {
      const seen = furthest.get(`${jobId}:${attempt}`) ?? 0
      if (progress < seen) return [`${jobId} went from ${seen} % back to ${progress} %`]
      furthest.set(`${jobId}:${attempt}`, progress)
    }
    if (!before) return []
    if (before.isOver && !isOver) return [`${jobId} was seen at its end, and then before it`]
    return attempt < before.attempt
      ? [`${jobId} was seen in ${before.attempt}, then ${attempt}`]
      : []
  })
  const checked = evidence.events.length + evidence.sightings.length
  const violations = [...byEvents, ...bySight]
  return { invariant: 'I4', promise: 'nothing leaves an end or goes back', checked, violations }
}

function attemptsNeedFaults({ accepted, faults }: Evidence, { recordOf, eventsOf }: View): Verdict {
  let checked = 0
  const violations = accepted.flatMap(({ jobId }) => {
    const record = recordOf.get(jobId)
    if (!record) return []
    const attempts = new Set(
      eventsOf(jobId).flatMap(({ type, epoch }) => (type === 'render.started' ? [epoch] : [])),
    ).size
    checked += attempts
    const { createdAtMs, finishedAtMs = Infinity } = record
    const met = faults.filter(
      ({ fromMs, untilMs }) => fromMs <= finishedAtMs && untilMs + aftermathMs >= createdAtMs,
    ).length
    return attempts > 1 + met ? [`${jobId} was rendered ${attempts} times, with ${met} faults`] : []
  })
  const promise = 'no more renders than 1 + the faults that the job met'
  return { invariant: 'I5', promise, checked, violations }
}

function ownersAreApart(evidence: Evidence, { recordOf, eventsOf }: View): Verdict {
  let checked = evidence.foreignAnswers.length
  const mixed = evidence.accepted.flatMap(({ jobId, owner }) => {
    const named = [recordOf.get(jobId)?.owner, ...eventsOf(jobId).map((event) => event.owner)]
    checked += named.length
    const others = [...new Set(named.filter((name) => name !== undefined && name !== owner))]
    return others.map((other) => `${jobId} of ${owner} is also said to be ${other}'s`)
  })
  const seen = evidence.foreignAnswers
    .filter(({ status }) => status !== 404)
    .map(({ jobId, status }) => `another owner's question about ${jobId} was answered ${status}`)
  const promise = "no key sees another key's jobs"
  return { invariant: 'I6', promise, checked, violations: [...mixed, ...seen] }
}

function oneKeyOneJob({ accepted, records }: Evidence): Verdict {
  const byName = Map.groupBy(accepted, ({ owner, name }) => `${owner} ${name}`)
  const twice = [...byName].flatMap(([name, those]) => {
    const ids = [...new Set(those.map(({ jobId }) => jobId))]
    return ids.length > 1 ? [`${name} is ${ids.length} jobs: ${ids.join(', ')}`] : []
  })
  const known = new Set(accepted.map(({ jobId }) => jobId))
  const strange = records
    .filter(({ jobId }) => !known.has(jobId))
    .map(({ jobId, owner }) => `${jobId} of ${owner} is a job that nobody was given`)
  const checked = accepted.length + records.length
  const violations = [...twice, ...strange]
  return { invariant: 'I7', promise: 'one idempotency key, one job', checked, violations }
}
