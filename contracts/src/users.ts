import { type ServiceName, serviceNames } from './services.ts'
import { streams } from './streams.ts'
import { subjects } from './subjects.ts'
import { scaleKey, scalerKey } from './wakes.ts'

/** What a NATS user may publish and subscribe to. The broker refuses everything else. */
export type UserPermissions = {
  readonly publish: readonly string[]
  readonly subscribe: readonly string[]
  /** May reply once to each request that it receives, within a short time. */
  readonly allowResponses?: boolean
}

/** One user for each service, and `operator`, as which the command line provisions streams and keys. */
export type ServiceUser = ServiceName | 'operator'
export const serviceUsers: readonly ServiceUser[] = [...serviceNames, 'operator']

/** The inbox of a user. With the default `_INBOX.>` each service could read replies to the others. */
export function inboxPrefix(user: string): string {
  return `_INBOX_${user}`
}

/** Reads from an existing durable consumer: looks it up, pulls, acknowledges. */
function reads(consumer: string): string[] {
  return [
    `$JS.API.CONSUMER.INFO.${consumer}`,
    `$JS.API.CONSUMER.MSG.NEXT.${consumer}`,
    `$JS.ACK.${consumer}.>`,
  ]
}

/** Opens a bucket and reads single keys from its leader: a direct read may be answered by a copy that is behind. */
function gets(bucket: string): string[] {
  return [
    `$JS.API.STREAM.INFO.KV_${bucket}`,
    `$JS.API.STREAM.MSG.GET.KV_${bucket}`,
    // Services of the release before read directly, and may run on with this file.
    `$JS.API.DIRECT.GET.KV_${bucket}`,
    `$JS.API.DIRECT.GET.KV_${bucket}.>`,
  ]
}

/** Watches a bucket through an ordered consumer of its own. */
function watches(bucket: string): string[] {
  return readsInOrder(`KV_${bucket}`)
}

/** Follows a stream through an ordered consumer of its own. */
function readsInOrder(stream: string): string[] {
  return [
    `$JS.API.CONSUMER.CREATE.${stream}.>`,
    `$JS.API.CONSUMER.INFO.${stream}.*`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.*`,
    `$JS.API.CONSUMER.DELETE.${stream}.*`,
    '$JS.FC.>',
  ]
}

/** What the workers of a pool ask the orchestrator. */
function askedBy(pool: string): string[] {
  return [subjects.next, subjects.claim, subjects.store, subjects.hello].map((of) => of(pool))
}

/**
 * The least that each service needs. Tests try what is not granted here against a real broker.
 *
 * The sidecar can neither write a record nor publish an event other than a render's. The janitor can
 * only report deletions. Ingest only creates records, but key-value buckets have no finer right than
 * "put".
 */
export const servicePermissions: Record<ServiceUser, UserPermissions> = {
  ingest: {
    publish: [
      'evt.job.submitted.*',
      'notify.*.job.rejected',
      'dlq.intake.>',
      'ctl.request.cancel',
      subjects.brokerHealth,
      '$KV.job.*.*',
      ...gets('job'),
      ...gets('meta'),
      // Why a job waits for a worker.
      ...watches('meta'),
      ...gets('wake'),
      ...watches('wake'),
      ...watches('job'),
      ...gets('apikey'),
      '$KV.rate.*.*',
      ...gets('rate'),
      // Made again after a restart of the broker, which loses what is in memory.
      '$JS.API.STREAM.CREATE.KV_rate',
      ...watches('limits'),
      ...gets('limits'),
      ...watches('pace'),
      ...gets('pace'),
      ...readsInOrder('LEDGER'),
      '$JS.API.DIRECT.GET.EVENTS',
      '$JS.API.DIRECT.GET.EVENTS.>',
      ...reads('INTAKE.ingest'),
      // For `GET /health`, which reports full streams.
      ...Object.keys(streams).map((stream) => `$JS.API.STREAM.INFO.${stream}`),
      '$JS.API.CONSUMER.RESET.INTAKE.ingest',
    ],
    subscribe: [`${inboxPrefix('ingest')}.>`, 'evt.job.>', 'beat.*'],
  },
  orchestrator: {
    publish: [
      'evt.job.>',
      'sched.delete.*',
      'notify.*.job.*',
      'dlq.events.>',
      // Published again for an upload that the record already notes.
      'evt.render.completed.*',
      'ctl.stop.*',
      'ctl.drain.*',
      subjects.brokerHealth,
      '$KV.job.*.*',
      ...gets('job'),
      ...gets('meta'),
      // Which orchestrator decides about workers, and what it decided; never the layout.
      `$KV.meta.${scalerKey}`,
      `$KV.meta.${scaleKey}`,
      '$KV.wake.*.*',
      ...gets('wake'),
      ...watches('wake'),
      ...watches('job'),
      'ledger.job.>',
      'ledger.worker.>',
      'ledger.bill.>',
      '$JS.API.DIRECT.GET.LEDGER.ledger.bill.>',
      ...watches('limits'),
      ...gets('limits'),
      '$KV.pace.*.>',
      ...gets('pace'),
      ...watches('pace'),
      ...readsInOrder('LEDGER'),
      '$JS.API.DIRECT.GET.EVENTS',
      '$JS.API.DIRECT.GET.EVENTS.evt.job.*.*',
      ...reads('EVENTS.orchestrator'),
      ...reads('EVENTS.storage'),
      // For the metrics of streams and consumers.
      ...Object.keys(streams).map((stream) => `$JS.API.STREAM.INFO.${stream}`),
      '$JS.API.CONSUMER.INFO.INTAKE.ingest',
      '$JS.API.CONSUMER.INFO.SCHED.janitor',
    ],
    subscribe: [`${inboxPrefix('orchestrator')}.>`, 'ctl.request.>', 'beat.*', 'telemetry.spans.*'],
    allowResponses: true,
  },
  janitor: {
    publish: [
      'evt.job.deleted.*',
      'dlq.sched.>',
      subjects.brokerHealth,
      ...gets('job'),
      ...gets('meta'),
      ...reads('SCHED.janitor'),
    ],
    subscribe: [`${inboxPrefix('janitor')}.>`],
  },
  sidecar: {
    publish: ['evt.render.*.*', 'beat.*', 'telemetry.spans.*', ...askedBy('*')],
    subscribe: [`${inboxPrefix('sidecar')}.>`, 'ctl.stop.*', 'ctl.drain.*'],
  },
  operator: { publish: ['>'], subscribe: ['>'] },
}

/** What the users of pools are called; workers tell by it that they are one's. */
export const poolUserPrefix = 'pool-'

/** The user of a pool's workers. A rotated password has a user of its own, such as `pool-runpod-2`. */
export function poolUser(pool: string, generation = 1): string {
  return `${poolUserPrefix}${pool}${generation === 1 ? '' : `-${generation}`}`
}

/** What the workers of one pool may do: what the sidecar may, but asking only in their pool's name. */
export function poolUserPermissions(pool: string, user = poolUser(pool)): UserPermissions {
  const { publish, subscribe } = servicePermissions.sidecar
  const others = new Set(askedBy('*'))
  return {
    publish: [...publish.filter((subject) => !others.has(subject)), ...askedBy(pool)],
    subscribe: [
      `${inboxPrefix(user)}.>`,
      ...subscribe.filter((subject) => !subject.startsWith(inboxPrefix('sidecar'))),
    ],
  }
}
