import { provisionPublisher } from '@avatar/backing-services'
import {
  inboxPrefix,
  intakePrefix,
  notifyDomain,
  publisherNameSchema,
  type ServerName,
  timings,
} from '@avatar/contracts'
import { systemClock } from '@avatar/service-kit'
import type { CommandContext } from '../command-context.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { signalIfThere } from '../process-table.ts'
import {
  type Credentials,
  ensureCredentials,
  generatePublisher,
  type Publisher,
  saveCredentials,
} from '../stack/credentials.ts'
import type { DataFolder } from '../stack/data-folder.ts'
import { type HeldName, holdName } from '../stack/held-name.ts'
import { portsOfLastStart } from '../stack/ports.ts'
import { untilKnown, untilServed } from '../stack/publisher-access.ts'
import { writeServerFiles } from '../stack/server-files.ts'
import type { StackFile } from '../stack/stack-file.ts'
import { findSystem, folderOf, getStackFile, operatorAccess } from '../system.ts'

const lockRetryMs = 100

/**
 * `avatar publishers create`: a NATS user and an S3 identity for another service, which may use only its
 * own subjects and its own folder. Both servers read them without a restart, and no job notices.
 */
export async function createPublisher(
  name: string,
  options: { data?: string; json?: boolean },
  { env, stdout }: CommandContext,
) {
  const parsed = publisherNameSchema.safeParse(name)
  if (!parsed.success)
    throw new UserError(
      `"${name}" cannot be a publisher: ${parsed.error.issues[0]?.message ?? 'not a name'}`,
      exitCodes.usage,
    )
  const data = folderOf(options.data, env)
  const lock = await lockPublishers(data)
  try {
    const access = await addPublisher(name, data, env)
    stdout.write(
      options.json
        ? `${JSON.stringify(access)}\n`
        : `${JSON.stringify(access, null, 2)}\n\nKeep them now: they are not shown again.\n`,
    )
  } finally {
    lock.release()
  }
}

/** One at a time: each run writes all publishers, and of two at once each would drop the other's. */
async function lockPublishers(data: DataFolder): Promise<HeldName> {
  for (;;) {
    const lock = await holdName(`publishers:${data.path}`)
    if (lock) return lock
    await systemClock.wait(lockRetryMs)
  }
}

/**
 * @returns what the other service needs to know, once both servers accept it
 * @throws UserError when they do not; then everything is as before
 */
async function addPublisher(
  name: string,
  data: DataFolder,
  env: CommandContext['env'],
): Promise<ReturnType<typeof describeAccess>> {
  const stack = await getStackFile(data)
  const ports = await portsOfLastStart(data)
  if (!ports) throw new UserError(`${data.portsFile} is missing.`)

  const credentials = await ensureCredentials(data)
  if (credentials.publishers[name])
    throw new UserError(`There is a publisher "${name}" already; its secrets are not shown again.`)
  const publisher = generatePublisher(name)
  const access = describeAccess(name, publisher, stack)
  const write = async (next: Credentials) => {
    await saveCredentials(data, next)
    await writeServerFiles(data, next, ports)
  }
  await provisionPublisher(operatorAccess(await findSystem(data.path, env)), name, timings)
  try {
    await write({ ...credentials, publishers: { ...credentials.publishers, [name]: publisher } })
    // Shown only once they work.
    await untilKnown(access.nats, () => reload(data, 'nats'))
    await reload(data, 's3')
    await untilServed(access.s3)
  } catch (error) {
    await write(credentials) // Secrets that nobody has seen would only block the next try.
    await Promise.all([reload(data, 'nats'), reload(data, 's3')])
    throw error
  }
  return access
}

/** Everything that the other service needs to know. */
function describeAccess(name: string, publisher: Publisher, { nats, s3 }: StackFile) {
  return {
    name,
    nats: {
      url: `nats://${new URL(nats.url).host}`,
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
      endpoint: s3.endpoint,
      bucket: s3.bucket,
      prefix: intakePrefix(name),
      access_key_id: publisher.s3.accessKeyId,
      secret_access_key: publisher.s3.secretAccessKey,
    },
  }
}

/** Signals the current pid. A server that is being restarted reads the new files anyway. */
async function reload(data: DataFolder, server: ServerName) {
  signalIfThere((await getStackFile(data)).processes[server].pid, 'SIGHUP')
}
