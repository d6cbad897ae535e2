import { streams } from './streams.ts'
import { workClass } from './subjects.ts'

/** What a NATS user may publish to and subscribe to. Everything else is refused by the broker. */
export type UserPermissions = {
  readonly publish: readonly string[]
  readonly subscribe: readonly string[]
  /** May answer requests it received, once, within a short time. */
  readonly allowResponses?: boolean
}

/** The services' users. `operator` provisions streams and keeps the keys: the command line uses it. */
export const serviceUsers = ['ingest', 'orchestrator', 'janitor', 'sidecar', 'operator'] as const
export type ServiceUser = (typeof serviceUsers)[number]

/**
 * The inbox of a user. With the default `_INBOX.>` each service could read the replies to the
 * others.
 */
export function inboxPrefix(user: string): string {
  return `_INBOX_${user}`
}

const gpuConsumer = `GPU.${workClass.class}-${workClass.priority}`

/** Bound to an existing durable: look it up, pull, acknowledge. */
function reads(consumer: string): string[] {
  return [
    `$JS.API.CONSUMER.INFO.${consumer}`,
    `$JS.API.CONSUMER.MSG.NEXT.${consumer}`,
    `$JS.ACK.${consumer}.>`,
  ]
}

/** Opens a bucket and gets single keys, by a read whose subject carries the key. */
function gets(bucket: string): string[] {
  return [`$JS.API.STREAM.INFO.KV_${bucket}`, `$JS.API.DIRECT.GET.KV_${bucket}.>`]
}

/** Watches a bucket by an ordered consumer of its own. */
function watches(bucket: string): string[] {
  return [
    `$JS.API.CONSUMER.CREATE.KV_${bucket}.>`,
    `$JS.API.CONSUMER.INFO.KV_${bucket}.*`,
    `$JS.API.CONSUMER.MSG.NEXT.KV_${bucket}.*`,
    `$JS.API.CONSUMER.DELETE.KV_${bucket}.*`,
    '$JS.FC.>',
  ]
}

/**
 * The least each service needs; every line that is missing here has a test that the broker says no.
 * The sidecar cannot write a record or forge an event that is not a render's; the janitor can only
 * say that it deleted; ingest creates records but the KV has no finer right than "put".
 */
export const servicePermissions: Record<ServiceUser, UserPermissions> = {
  ingest: {
    publish: [
      'evt.job.submitted.*',
      'notify.*.job.rejected',
      'dlq.intake.>',
      'ctl.request.cancel',
      '$KV.job.*.*',
      ...gets('job'),
      ...watches('job'),
      ...gets('apikey'),
      '$JS.API.DIRECT.GET.EVENTS',
      '$JS.API.DIRECT.GET.EVENTS.>',
      ...reads('INTAKE.ingest'),
      // How full each stream is, for `GET /health`.
      ...Object.keys(streams).map((stream) => `$JS.API.STREAM.INFO.${stream}`),
      '$JS.API.CONSUMER.RESET.INTAKE.ingest',
    ],
    subscribe: [`${inboxPrefix('ingest')}.>`, 'evt.job.>', 'beat.*'],
  },
  orchestrator: {
    publish: [
      'evt.job.>',
      'gpu.work.>',
      'sched.delete.*',
      'notify.*.job.*',
      'dlq.events.>',
      // A reminder of an upload that is noted in the record.
      'evt.render.completed.*',
      'ctl.stop.*',
      '$KV.job.*.*',
      ...gets('job'),
      ...watches('job'),
      '$JS.API.STREAM.MSG.GET.KV_job',
      '$JS.API.STREAM.INFO.GPU',
      `$JS.API.CONSUMER.INFO.${gpuConsumer}`,
      '$JS.API.STREAM.PURGE.GPU',
      '$JS.API.DIRECT.GET.GPU.>',
      '$JS.API.DIRECT.GET.EVENTS.evt.job.cancel-requested.*',
      ...reads('EVENTS.orchestrator'),
      ...reads('EVENTS.storage'),
    ],
    subscribe: [`${inboxPrefix('orchestrator')}.>`, 'ctl.request.*', 'beat.*'],
    allowResponses: true,
  },
  janitor: {
    publish: [
      'evt.job.deleted.*',
      'dlq.sched.>',
      ...gets('job'),
      '$JS.API.DIRECT.GET.KV_job',
      ...reads('SCHED.janitor'),
    ],
    subscribe: [`${inboxPrefix('janitor')}.>`],
  },
  sidecar: {
    publish: [
      'evt.render.*.*',
      'beat.*',
      'ctl.request.claim',
      'ctl.request.store',
      'dlq.gpu.>',
      ...reads(gpuConsumer),
    ],
    subscribe: [`${inboxPrefix('sidecar')}.>`, 'ctl.stop.*'],
  },
  operator: { publish: ['>'], subscribe: ['>'] },
}
