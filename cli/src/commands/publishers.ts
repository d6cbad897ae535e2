import { provisionPublisher, removePublisher } from '@avatar/backing-services'
import {
  inboxPrefix,
  intakePrefix,
  notifyDomain,
  publisherNameSchema,
  timings,
} from '@avatar/contracts'
import type { CommandContext } from '../command-context.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { untilKnown, untilServed } from '../publishers/access.ts'
import { inPlace, openPlace, type Place, type PlaceOptions } from '../publishers/place.ts'
import { type Credentials, generatePublisher, type Publisher } from '../stack/credentials.ts'
import { table } from '../table.ts'

export type PublisherOptions = PlaceOptions & { json?: boolean }

/**
 * `avatar publishers create`: a NATS user and an S3 identity for another service, which may use only its
 * own subjects and its own folder. Both servers read them without a restart, and no job notices.
 */
export async function createPublisher(
  name: string,
  options: PublisherOptions,
  context: CommandContext,
) {
  const parsed = publisherNameSchema.safeParse(name)
  if (!parsed.success)
    throw new UserError(
      `"${name}" cannot be a publisher: ${parsed.error.issues[0]?.message ?? 'not a name'}`,
      exitCodes.usage,
    )
  const { stdout, stderr } = context
  await inPlace(options, context, async (place) => {
    const access = await addPublisher(name, place)
    stdout.write(
      options.json
        ? `${JSON.stringify(access)}\n`
        : `${JSON.stringify(access, null, 2)}\n\nKeep them now: they are not shown again.\n`,
    )
    if (!place.reloadStore) stderr.write(storeAdvice)
  })
}

/** `avatar publishers list`: who may submit jobs by events. */
export async function listPublishers(options: PublisherOptions, context: CommandContext) {
  const { stdout } = context
  const { publishers } = await (await openPlace(options, context)).credentials()
  const rows = Object.entries(publishers).map(([name, { s3 }]) => ({
    name,
    prefix: intakePrefix(name),
    access_key_id: s3.accessKeyId,
  }))
  stdout.write(
    options.json
      ? `${JSON.stringify({ publishers: rows })}\n`
      : table(
          ['NAME', 'FOLDER', 'ACCESS KEY'],
          rows.map(({ name, prefix, access_key_id }) => [name, prefix, access_key_id]),
        ),
  )
}

/**
 * `avatar publishers remove`: ends a publisher's access at once. Jobs that it has submitted go on; its
 * notifications end with it.
 */
export async function removePublisherAccess(
  name: string,
  options: PublisherOptions,
  context: CommandContext,
) {
  const { stdout, stderr } = context
  await inPlace(options, context, async (place) => {
    const credentials = await place.credentials()
    if (!credentials.publishers[name]) throw new UserError(`There is no publisher "${name}".`)
    const { [name]: _removed, ...publishers } = credentials.publishers
    await place.write({ ...credentials, publishers })
    await place.reloadBroker()
    await place.reloadStore?.()
    await removePublisher(place.operator, name, timings)
    stdout.write(
      options.json ? `${JSON.stringify({ name, removed: true })}\n` : `${name} is removed\n`,
    )
    if (!place.reloadStore) stderr.write(storeAdvice)
  })
}

/** The store is another container: nobody but whoever runs it can signal its process. */
const storeAdvice =
  'The store reads it when it is told to: docker compose kill -s HUP s3, or restart it.\n'

/**
 * @returns what the other service needs to know, once the servers accept it
 * @throws UserError when they do not; then everything is as before
 */
async function addPublisher(
  name: string,
  place: Place,
): Promise<ReturnType<typeof describeAccess>> {
  const credentials = await place.credentials()
  if (credentials.publishers[name])
    throw new UserError(`There is a publisher "${name}" already; its secrets are not shown again.`)
  const publisher = generatePublisher(name)
  const access = describeAccess(name, publisher, place)
  const withIt: Credentials = {
    ...credentials,
    publishers: { ...credentials.publishers, [name]: publisher },
  }
  await provisionPublisher(place.operator, name, timings)
  try {
    await place.write(withIt)
    // Shown only once they work.
    await untilKnown(access.nats, place.reloadBroker)
    if (place.reloadStore) {
      await place.reloadStore()
      await untilServed(access.s3)
    }
  } catch (error) {
    await place.write(credentials) // Secrets that nobody has seen would only block the next try.
    await Promise.allSettled([place.reloadBroker(), place.reloadStore?.()])
    throw error
  }
  return access
}

/** Everything that the other service needs to know. */
function describeAccess(name: string, publisher: Publisher, { operator, store }: Place) {
  return {
    name,
    nats: {
      url: operator.url,
      user: name,
      password: publisher.natsPassword,
      inbox_prefix: inboxPrefix(name),
      notify_domain: notifyDomain,
      notify_stream: 'NOTIFY',
      notify_consumer: name,
      submit_subject: `intake.${name}.job.submitted`,
      notify_subject: `notify.${name}.>`,
    },
    s3: {
      endpoint: store.endpoint,
      bucket: store.bucket,
      prefix: intakePrefix(name),
      access_key_id: publisher.s3.accessKeyId,
      secret_access_key: publisher.s3.secretAccessKey,
    },
  }
}
