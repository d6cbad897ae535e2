import { inboxPrefix, type UserPermissions } from './users.ts'

/** The broker's account that holds all services, streams and buckets. */
export const serviceAccount = 'AVATAR'

/** The account in which the broker answers about itself. */
export const systemAccount = 'SYSTEM'

/** The only user of that account: it may have the broker read its configuration again, and nothing else. */
export const reloadUser = 'reload'
export const reloadPermissions: UserPermissions = {
  publish: ['$SYS.REQ.SERVER.PING', '$SYS.REQ.SERVER.*.RELOAD'],
  subscribe: [`${inboxPrefix(reloadUser)}.>`],
}

/** The JetStream domain by which a publisher names the consumer of its notifications. */
export const notifyDomain = 'avatar'

/** A subject of one account that another account may use, by default under the same name. */
type AccountImport = { readonly subject: string; readonly as?: string }

/**
 * What the services' account exports. Each publisher's imports, which only the operator writes, say
 * what that publisher may use of it.
 */
export const serviceExports = {
  services: [
    { subject: 'intake.*.job.submitted', answers: 'once' },
    { subject: '$JS.API.CONSUMER.INFO.NOTIFY.*', answers: 'once' },
    // One pull request brings many messages.
    { subject: '$JS.API.CONSUMER.MSG.NEXT.NOTIFY.*', answers: 'many' },
    { subject: '$JS.ACK.NOTIFY.>', answers: 'once' },
  ],
  streams: ['notify.*.job.*'],
} as const

/**
 * The account of one publisher. Permissions alone would not hold within a shared account: the broker
 * answers a publish on whatever reply subject it names, so a publisher could have that answer stored
 * as a job's record or as an event (tried).
 */
export function publisherAccount(publisher: string): string {
  return `PUBLISHER-${publisher}`
}

/** What a publisher's account imports: its own subjects and its own consumer. */
export function publisherImports(publisher: string): {
  readonly services: readonly AccountImport[]
  readonly streams: readonly string[]
} {
  const consumer = (call: string) => ({
    subject: `$JS.API.CONSUMER.${call}.NOTIFY.${publisher}`,
    // Without the domain, the request would go to the publisher's own account, which has no streams.
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
 * What a publisher may do: submit on its own subject, and read its own notifications, either live or
 * from the stream through the durable consumer of its name. The broker refuses everything else with an
 * error.
 */
export function publisherPermissions(publisher: string): UserPermissions {
  const { services } = publisherImports(publisher)
  return {
    publish: services.map(({ subject, as }) => as ?? subject),
    // The default inbox of client libraries does no harm: nobody else is in the account.
    subscribe: ['_INBOX.>', `${inboxPrefix(publisher)}.>`, `notify.${publisher}.>`],
  }
}
