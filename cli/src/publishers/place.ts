import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type OperatorAccess, reloadBroker } from '@avatar/backing-services'
import { systemClock } from '@avatar/service-kit'
import type { CommandContext } from '../command-context.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { natsStore, type Recipient, secretFilesOf } from '../init/secret-files.ts'
import { writeSecretFolder } from '../init/secret-folder.ts'
import { signalIfThere } from '../process-table.ts'
import { type Credentials, ensureCredentials, saveCredentials } from '../stack/credentials.ts'
import { dataFolder, readIfThere } from '../stack/data-folder.ts'
import { type HeldName, holdName } from '../stack/held-name.ts'
import { portsOfLastStart } from '../stack/ports.ts'
import { bucket, writeServerFiles } from '../stack/server-files.ts'
import { findSystem, folderOf, getStackFile, operatorAccess } from '../system.ts'

const lockRetryMs = 100

export type PlaceOptions = { data?: string; config?: string }

/** Where the credentials of a system lie, and how its servers come to know them. */
export type Place = {
  path: string
  credentials(): Promise<Credentials>
  write(credentials: Credentials): Promise<void>
  operator: OperatorAccess
  /** As publishers reach it. */
  store: { endpoint: string; bucket: string }
  reloadBroker(): Promise<void>
  /** Undefined where only the operator can reach the store's process. */
  reloadStore: (() => Promise<void>) | undefined
}

/**
 * The system of a data folder, which `avatar up` runs, or with `--config` that of a folder which `system
 * init` has made; the environment then says where its servers are.
 *
 * @throws UserError when it is not there
 */
export async function openPlace(options: PlaceOptions, context: CommandContext): Promise<Place> {
  return options.config === undefined
    ? localPlace(options.data, context)
    : configuredPlace(options.config, context)
}

/** One at a time: each run writes all users, and of two at once each would drop the other's. */
export async function inPlace(
  options: PlaceOptions,
  context: CommandContext,
  act: (place: Place) => Promise<void>,
) {
  const place = await openPlace(options, context)
  const lock = await lockCredentials(place.path)
  try {
    await act(place)
  } finally {
    lock.release()
  }
}

async function lockCredentials(path: string): Promise<HeldName> {
  for (;;) {
    const lock = await holdName(`credentials:${path}`)
    if (lock) return lock
    await systemClock.wait(lockRetryMs)
  }
}

async function localPlace(folder: string | undefined, { env }: CommandContext): Promise<Place> {
  const data = folderOf(folder, env)
  const stack = await getStackFile(data)
  const ports = await portsOfLastStart(data)
  if (!ports) throw new UserError(`${data.portsFile} is missing.`)
  const operator = operatorAccess(await findSystem(data.path, env))
  return {
    path: data.path,
    credentials: () => ensureCredentials(data),
    async write(credentials) {
      await saveCredentials(data, credentials)
      await writeServerFiles(data, credentials, ports)
    },
    operator,
    store: stack.s3,
    reloadBroker: () => reloadBy(operator.url, () => ensureCredentials(data)),
    // Its current pid. A server that is being restarted reads the new files anyway.
    reloadStore: async () => signalIfThere((await getStackFile(data)).processes.s3.pid, 'SIGHUP'),
  }
}

async function configuredPlace(path: string, { env }: CommandContext): Promise<Place> {
  const data = dataFolder(path)
  if ((await readIfThere(data.credentialsFile)) === undefined)
    throw new UserError(
      `${path} has no credentials; make them with: avatar system init --for compose --out ${path}`,
    )
  const operator = operatorAccess(await findSystem(undefined, env))
  const endpoint = env['S3_PUBLIC_ENDPOINT'] || env['S3_ENDPOINT']
  if (!endpoint)
    throw new UserError('Set S3_PUBLIC_ENDPOINT: publishers need the store.', exitCodes.usage)
  return {
    path: data.path,
    credentials: () => ensureCredentials(data),
    async write(credentials) {
      await saveCredentials(data, credentials)
      const files = secretFilesOf(credentials, { natsStore })
      const ownerOf = async (name: Recipient) => (await stat(join(path, name))).uid
      // Whoever owned it goes on owning it.
      for (const name of ['nats', 's3'] satisfies Recipient[])
        await writeSecretFolder(join(path, name), files.get(name) ?? {}, await ownerOf(name))
      // A pool's own part belongs to whom the other workers' part belongs.
      for (const name of files.keys())
        if (name.startsWith('pool-'))
          await writeSecretFolder(join(path, name), files.get(name) ?? {}, await ownerOf('sidecar'))
    },
    operator,
    store: { endpoint, bucket: env['R2_BUCKET_NAME'] || bucket },
    reloadBroker: () => reloadBy(operator.url, () => ensureCredentials(data)),
    reloadStore: undefined,
  }
}

async function reloadBy(url: string, credentials: () => Promise<Credentials>): Promise<void> {
  await reloadBroker({ url, password: (await credentials()).natsReload })
}
