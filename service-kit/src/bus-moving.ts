import type { NatsConnection } from '@nats-io/transport-node'
import { type StoreWatcher, troubleOf } from './bus-publish.ts'
import type { Clock } from './clock.ts'
import type { Log } from './log.ts'

/** Longer than brokers take to choose a leader, until when all of them are silent. */
const moveAfterMs = 10_000
/** A failure that is no answer to the one before: what fails goes on failing more often than this. */
const unrelatedAfterMs = 5_000

type Mover = StoreWatcher & {
  /** A consumer that should tell of itself does not. */
  noteSilence(): void
}

/**
 * Leaves a broker that is cut off from the others of its cluster. It keeps its clients and answers their pings, and
 * whatever they want to store is lost; the address that led to it leads to the others as well. One broker alone is
 * never left.
 */
export function createMover({
  connection,
  clock,
  log,
}: {
  connection: Pick<NatsConnection, 'info' | 'reconnect'>
  clock: Pick<Clock, 'monotonicMs'>
  log: Log
}): Mover {
  let silence: { sinceMs: number; untilMs: number } | undefined

  function noteSilence() {
    if (connection.info?.cluster === undefined) return
    const nowMs = clock.monotonicMs()
    const goesOn = silence && nowMs - silence.untilMs <= unrelatedAfterMs ? silence : undefined
    silence = { sinceMs: goesOn?.sinceMs ?? nowMs, untilMs: nowMs }
    const durationMs = nowMs - silence.sinceMs
    if (durationMs < moveAfterMs) return
    silence = undefined
    log.warn({ durationMs: Math.round(durationMs) }, 'this broker stores nothing, trying another')
    // Unless it is closing, and then nobody needs another one.
    connection.reconnect().catch(() => undefined)
  }

  return {
    noteStored() {
      silence = undefined
    },
    noteFailure(error) {
      const trouble = troubleOf(error)
      if (trouble === 'timeout' || trouble === 'no_responders') noteSilence()
    },
    noteSilence,
  }
}
