import { inboxPrefix, type UserPermissions } from './users.ts'

/** The account of the broker in which all services, streams and buckets live. */
export const serviceAccount = 'AVATAR'

/** The JetStream domain by which a publisher names the consumer of its notifications. */
export const notifyDomain = 'avatar'

/** Something of one account that another may use, under its own name for it. */
export type AccountImport = { readonly subject: string; readonly as?: string }

/**
 * What the account of the services lets others use. Which publisher uses which part is written in
 * the publisher's imports, which only the broker's operator writes.
 */
export const serviceExports = {
  services: [
    { subject: 'intake.*.job.submitted', answers: 'once' },
    { subject: '$JS.API.CONSUMER.INFO.NOTIFY.*', answers: 'once' },
    // A pull is answered by many messages.
    { subject: '$JS.API.CONSUMER.MSG.NEXT.NOTIFY.*', answers: 'many' },
    { subject: '$JS.ACK.NOTIFY.>', answers: 'once' },
  ],
  streams: ['notify.*.job.*'],
} as const

/**
 * Each publisher has an account of its own. Within one account permissions would not hold: the broker
 * answers a publish on whatever reply subject it names, so that a publisher could have the answer
 * stored as a job's record or as an event (tried).
 */
export function publisherAccount(publisher: string): string {
  return `PUBLISHER-${publisher}`
}

/** What a publisher's account uses of the services': its own subjects and its own consumer. */
export function publisherImports(publisher: string): {
  readonly services: readonly AccountImport[]
  readonly streams: readonly string[]
} {
  const consumer = (call: string) => ({
    subject: `$JS.API.CONSUMER.${call}.NOTIFY.${publisher}`,
    // Under its own name it would be asked of the publisher's account, which has no streams.
    as: `$JS.${notifyDomain}.API.CONSUMER.${call}.NOTIFY.${publisher}`,
  })
  return {
    services: [
      { subject: `intake.${publisher}.job.submitted` },
      consumer('INFO'),
      consumer('MSG.NEXT'),
      { subject: `$JS.ACK.NOTIFY.${publisher}.>` },
    ],
    streams: [`notify.${publisher}.job.*`],
  }
}

/**
 * What another service may do: submit on its own subject, read its own notifications, live or from
 * the stream by the durable consumer that bears its name. Anything else is refused aloud.
 */
export function publisherPermissions(publisher: string): UserPermissions {
  const { services } = publisherImports(publisher)
  return {
    publish: services.map(({ subject, as }) => as ?? subject),
    // Nobody else is in the account, so the inbox that clients use by default does no harm.
    subscribe: ['_INBOX.>', `${inboxPrefix(publisher)}.>`, `notify.${publisher}.>`],
  }
}
