import {
  inboxPrefix,
  intakePrefix,
  notifyDomain,
  publisherNameSchema,
  timings,
} from '@avatar/contracts'
import { provisionPublisher } from '@avatar/service-kit'
import type { CommandContext } from '../command-context.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { ensureCredentials, generatePublisher, saveCredentials } from '../stack/credentials.ts'
import { dataFolder } from '../stack/data-folder.ts'
import { portsOfLastStart } from '../stack/ports.ts'
import { untilHeard, untilServed } from '../stack/publisher-access.ts'
import { writeServerFiles } from '../stack/server-files.ts'
import { readStackFile, type StackFile } from '../stack/stack-file.ts'
import { connectTo, defaultDataFolder } from '../system.ts'

/**
 * `avatar publishers create`: a NATS user and an S3 identity for another service, each with the
 * rights to its own subjects and folder alone. Both servers read them without a restart of any job.
 */
export async function createPublisher(
  name: string,
  options: { data?: string; json?: boolean },
  { stdout }: CommandContext,
) {
  const parsed = publisherNameSchema.safeParse(name)
  if (!parsed.success)
    throw new UserError(parsed.error.issues[0]?.message ?? 'not a name', exitCodes.usage)
  const data = dataFolder(options.data ?? defaultDataFolder)
  const stack = await readStackFile(data)
  const ports = await portsOfLastStart(data)
  if (!stack || !ports)
    throw new UserError(`No running system was found in ${data.path}.`, exitCodes.unreachable)

  const credentials = await ensureCredentials(data)
  if (credentials.publishers[name])
    throw new UserError(`There is a publisher "${name}" already; its secrets are not shown again.`)
  const publisher = generatePublisher(name)
  const extended = {
    ...credentials,
    publishers: { ...credentials.publishers, [name]: publisher },
  }
  await saveCredentials(data, extended)
  await writeServerFiles(data, extended, ports)

  const told = {
    name,
    nats: {
      url: `nats://${new URL(stack.nats.url).host}`,
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
      endpoint: stack.s3.endpoint,
      bucket: stack.s3.bucket,
      prefix: intakePrefix(name),
      access_key_id: publisher.s3.accessKeyId,
      secret_access_key: publisher.s3.secretAccessKey,
    },
  }
  const operator = await connectTo(operatorOf(stack))
  await provisionPublisher(operator, name, timings).finally(() => operator.stop())
  // Shown only once they work.
  await untilHeard(told.nats, () => process.kill(stack.processes.nats.pid, 'SIGHUP'))
  process.kill(stack.processes.s3.pid, 'SIGHUP')
  await untilServed(told.s3)
  stdout.write(
    options.json
      ? `${JSON.stringify(told)}\n`
      : `${JSON.stringify(told, null, 2)}\n\nKeep them now: they are not shown again.\n`,
  )
}

function operatorOf({ nats }: StackFile) {
  const { protocol, host, username: user, password } = new URL(nats.url)
  return { url: `${protocol}//${host}`, user, password }
}
