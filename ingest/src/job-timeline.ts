import {
  type EventType,
  isTerminal,
  type JobRecord,
  type JobState,
  publicEventTypes,
  streams,
  subjects,
  type Timings,
} from '@avatar/contracts'
import type { Bus, Clock } from '@avatar/service-kit'

/** A public fact of a job, under the id by which a client resumes after it. */
export type Fact = { id: string; type: string; atMs: number; isEnd: boolean }

const publicTypes: ReadonlySet<string> = new Set(publicEventTypes)
const endTypeOf: { readonly [State in JobState]?: EventType } = {
  completed: 'job.completed',
  failed: 'job.failed',
  cancelled: 'job.cancelled',
}
const endTypes: ReadonlySet<string> = new Set(Object.values(endTypeOf))
const batchMessages = 100

/**
 * The public facts of one job in their order, each once, up to its end. They are read from the broker's
 * stream by direct gets, so that followers cost no consumers. The id of a fact is its sequence there.
 */
export function jobTimeline(deps: { bus: Bus; clock: Clock; timings: Timings }, jobId: string) {
  const { bus, clock, timings } = deps
  const seen = new Set<string>()
  let nextSequence = 1
  let isOver = false

  /** The facts that are new since the last call. `current` is the record, read before. */
  async function read(current: JobRecord): Promise<Fact[]> {
    const facts: Fact[] = []
    for (let count = batchMessages; count === batchMessages && !isOver; ) {
      const subject = subjects.eventsOfJob(jobId)
      const batch = await bus.readStream(streams.EVENTS.name, subject, nextSequence, batchMessages)
      count = batch.length
      for (const { sequence, body } of batch) {
        nextSequence = sequence + 1
        // Only our own services may publish on these subjects.
        const { type, epoch, atMs } = body as { type: string; epoch: number; atMs: number }
        const key = `${type}:${epoch}`
        // Facts from before are those of an earlier job under the same id, whose record was removed.
        if (atMs < current.createdAtMs) continue
        // A handler that runs twice publishes the same fact twice.
        if (isOver || !publicTypes.has(type) || seen.has(key)) continue
        seen.add(key)
        isOver = endTypes.has(type)
        facts.push({ id: String(sequence), type, atMs, isEnd: isOver })
      }
    }
    const end = isOver ? undefined : missingEnd(current)
    if (end) isOver = true
    return end ? [...facts, end] : facts
  }

  /**
   * The end of a job whose terminal event the stream does not have, because it has expired there. One
   * that is about to be published is waited for.
   */
  function missingEnd(job: JobRecord): Fact | undefined {
    const { finishedAtMs: atMs = 0 } = job
    const type = endTypeOf[job.state]
    if (!isTerminal(job) || !type || clock.nowMs() - atMs < timings.endMissingMs) return undefined
    return { id: 'end', type, atMs, isEnd: true }
  }

  return { read }
}

/**
 * What a client lacks that has everything up to this id. After an id that is none of these facts, the
 * latest of them has to do: it shows the job as it is, and the rest may be what the client has seen.
 */
export function factsAfter(facts: readonly Fact[], lastId: string | undefined): readonly Fact[] {
  if (!lastId) return facts
  const index = facts.findIndex(({ id }) => id === lastId)
  return index < 0 ? facts.slice(-1) : facts.slice(index + 1)
}
