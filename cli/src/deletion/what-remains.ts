import { streams, terminalRecordTtlMs } from '@avatar/contracts'

const dayMs = 24 * 3_600_000

/** What stays of a job whose media are deleted, by design, and for how long after it was last written. */
export const remaining: readonly { what: string; holds: string; days: number }[] = [
  {
    what: 'record',
    holds: 'the prompt, and the names of what was deleted',
    days: daysOf(terminalRecordTtlMs),
  },
  {
    what: 'events',
    holds: 'no prompt; the names of what was deleted',
    days: daysOf(streams.EVENTS.maxAgeMs),
  },
  {
    what: "a publisher's notifications",
    holds: 'a link that answers 404',
    days: daysOf(streams.NOTIFY.maxAgeMs),
  },
  { what: 'posting', holds: 'what it cost', days: daysOf(streams.LEDGER.maxAgeMs) },
  {
    what: "a publisher's event that was refused",
    holds: 'what it said, prompt included, in a dead letter; it became no job',
    days: daysOf(streams.DLQ.maxAgeMs),
  },
]

function daysOf(ms: number): number {
  return ms / dayMs
}
