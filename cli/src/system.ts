import { inboxPrefix } from '@avatar/contracts'
import {
  type Bus,
  connectBus,
  createLog,
  inTime,
  readSecretFile,
  systemClock,
} from '@avatar/service-kit'
import { exitCodes, UserError, usageError } from './exit-codes.ts'
import { type DataFolder, dataFolder } from './stack/data-folder.ts'
import type { Environment } from './stack/settings.ts'
import { readStackFile, type StackFile } from './stack/stack-file.ts'

/** The default data folder. */
export const defaultDataFolder = '.avatar'

/** How long a person waits for the broker. */
const brokerAnswersMs = 5_000

/** How to reach a running system: by its data folder, or by environment variables. */
export type System = {
  url: string | undefined
  nats: { url: string; user: string; password: string } | undefined
  /** Only for a system that runs on this machine. */
  data: DataFolder | undefined
}

/** The data folder of a command: `--data`, else `AVATAR_DATA_DIR`, else `.avatar`. */
export function folderOf(folder: string | undefined, env: Environment): DataFolder {
  return dataFolder(folder || env['AVATAR_DATA_DIR'] || defaultDataFolder)
}

/** Whether the environment names a system by its addresses. */
export function namesRemoteSystem(env: Environment): boolean {
  return Boolean(env['AVATAR_URL'] || env['NATS_URL'])
}

/**
 * The system that a command is about: that of `--data`, else the one that the environment names by
 * `AVATAR_URL` or by `NATS_URL`, `NATS_USER` and `NATS_PASSWORD`, else that of `AVATAR_DATA_DIR` or
 * `.avatar/`.
 *
 * @throws UserError when none runs there
 */
export async function findSystem(folder: string | undefined, env: Environment): Promise<System> {
  if (!folder && namesRemoteSystem(env))
    return {
      url: env['AVATAR_URL'] || undefined,
      nats: natsOf(env['NATS_URL'], env),
      data: undefined,
    }
  const data = folderOf(folder, env)
  const stack = await getStackFile(data)
  return { url: stack.url, nats: natsOf(stack.nats.url, {}), data }
}

/** @throws UserError when no system runs on the folder */
export async function getStackFile(data: DataFolder): Promise<StackFile> {
  const stack = await readStackFile(data)
  if (stack) return stack
  throw new UserError(
    `No running system was found in ${data.path}; start one with: npx avatar up --data ${data.path}`,
    exitCodes.unreachable,
  )
}

/** User and password come from the URL, as in `stack.json`, or from their own variables. */
function natsOf(url: string | undefined, env: Environment): System['nats'] {
  if (!url) return undefined
  if (!URL.canParse(url)) throw new UserError(`NATS_URL is no URL: ${url}`, exitCodes.usage)
  const { protocol, host, username, password } = new URL(url)
  const user = decodeURIComponent(username) || env['NATS_USER'] || 'operator'
  const secret = decodeURIComponent(password) || env['NATS_PASSWORD'] || secretOfFile(env)
  return secret ? { url: `${protocol}//${host}`, user, password: secret } : undefined
}

function secretOfFile(env: Environment): string | undefined {
  const path = env['NATS_PASSWORD_FILE']
  if (!path) return undefined
  try {
    return readSecretFile(path)
  } catch (error) {
    throw usageError(`NATS_PASSWORD_FILE names ${path}, which cannot be read`, error)
  }
}

/**
 * Does something as the broker's operator, then closes the connection.
 *
 * @throws UserError when the broker's address is unknown or it does not answer
 */
export async function asOperator<T>(system: System, act: (bus: Bus) => Promise<T>): Promise<T> {
  const bus = await connectTo(operatorAccess(system))
  try {
    return await act(bus)
  } finally {
    await bus.stop()
  }
}

/** @throws UserError when the broker's address or password is unknown */
export function operatorAccess(system: System): NonNullable<System['nats']> {
  if (system.nats) return system.nats
  throw new UserError(
    'Set NATS_URL and NATS_PASSWORD (of the user "operator"), or give --data.',
    exitCodes.usage,
  )
}

/**
 * A connection to the broker.
 *
 * @throws UserError when the broker does not answer or refuses the user
 */
export async function connectTo(
  nats: NonNullable<System['nats']>,
  withinMs = brokerAnswersMs,
): Promise<Bus> {
  const { url, user, password } = nats
  const connecting = connectBus({
    url,
    user,
    password,
    inboxPrefix: inboxPrefix(user),
    log: createLog('cli', 'silent'),
  })
  const bus = await inTime(systemClock, withinMs, connecting)
  if (bus !== 'late') return bus
  throw new UserError(
    `The broker at ${url} did not let us in within ${withinMs / 1000} s; is avatar up running?`,
    exitCodes.unreachable,
  )
}
