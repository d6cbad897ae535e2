import type { ConsumerConfig, StreamConfig } from '@nats-io/jetstream'

/**
 * What provisioning would do to one stream or consumer.
 *
 * `shrink`: the broker would accept it and delete at once what no longer fits. `impossible`: the broker
 * refuses it, whatever we do.
 */
export type Change = {
  readonly kind: 'create' | 'change' | 'shrink' | 'impossible' | 'delete'
  /** Such as `stream EVENTS` or `consumer EVENTS/orchestrator`. */
  readonly what: string
  readonly fields: readonly FieldChange[]
}

type FieldChange = { readonly field: string; readonly from: unknown; readonly to: unknown }

/** A stream's configuration as we want it. */
export type WantedStream = Partial<StreamConfig> & { name: string }

/** Limits by which a stream drops messages: 0 and below mean none. */
const limits = ['max_bytes', 'max_age', 'max_msgs_per_subject', 'max_msgs'] as const

/** What the broker (2.15.1) never changes, in either direction or once it is on. */
const fixed: ReadonlySet<string> = new Set(['retention', 'storage', 'max_consumers'])
const neverOff: ReadonlySet<string> = new Set([
  'allow_msg_schedules',
  'allow_msg_ttl',
  'deny_delete',
  'deny_purge',
])
const fixedOfConsumers: ReadonlySet<string> = new Set([
  'ack_policy',
  'deliver_policy',
  'max_waiting',
  'replay_policy',
])

/** What differs, as one change for each kind; empty when the stream is as we want it. */
export function compareStream(existing: StreamConfig | undefined, wanted: WantedStream): Change[] {
  const what = `stream ${wanted.name}`
  if (!existing) return [{ kind: 'create', what, fields: [] }]
  const differing = differences(existing, wanted)
  return changes(what, differing, (change) => {
    if (fixed.has(change.field)) return 'impossible'
    if (neverOff.has(change.field) && change.from === true) return 'impossible'
    return isShrunk(change) ? 'shrink' : 'change'
  })
}

/** The same for a durable consumer. */
export function compareConsumer(
  existing: ConsumerConfig | undefined,
  wanted: Partial<ConsumerConfig>,
  stream: string,
): Change[] {
  const what = `consumer ${stream}/${wanted.durable_name}`
  if (!existing) return [{ kind: 'create', what, fields: [] }]
  return changes(what, differences(existing, wanted), ({ field }) =>
    fixedOfConsumers.has(field) ? 'impossible' : 'change',
  )
}

/**
 * The configuration with the wider of the two limits: a narrower one would drop messages, and an operator
 * may have had a reason to widen it.
 */
export function withoutShrinking(existing: StreamConfig, wanted: WantedStream): WantedStream {
  const shrunk = compareStream(existing, wanted).find(({ kind }) => kind === 'shrink')
  const kept = (shrunk?.fields ?? []).map(({ field, from }) => [field, from] as const)
  return { ...wanted, ...Object.fromEntries(kept) }
}

function changes(
  what: string,
  differing: readonly FieldChange[],
  kindOf: (change: FieldChange) => Change['kind'],
): Change[] {
  const byKind = Map.groupBy(differing, kindOf)
  return [...byKind].map(([kind, fields]) => ({ kind, what, fields }))
}

/** The fields that we name and that are different. The broker leaves out what is off. */
function differences(existing: object, wanted: object): FieldChange[] {
  const current = new Map<string, unknown>(Object.entries(existing))
  return Object.entries(wanted)
    .map(([field, to]) => ({ field, from: current.get(field), to }))
    .filter(({ from, to }) => JSON.stringify(settled(from)) !== JSON.stringify(settled(to)))
}

/** One way to write "none": the broker answers with another than it was given. */
function settled(value: unknown): unknown {
  return value === undefined || value === false || (typeof value === 'number' && value <= 0)
    ? null
    : value
}

function isShrunk({ field, from, to }: FieldChange): boolean {
  if (!limits.some((limit) => limit === field)) return false
  const [before, after] = [Number(from ?? 0), Number(to ?? 0)]
  return after > 0 && (before <= 0 || after < before)
}
