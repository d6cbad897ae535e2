import { inboxPrefix } from '@avatar/contracts'
import { type Bus, connectBus, createLog, systemClock } from '@avatar/service-kit'
import { exitCodes, UserError } from './exit-codes.ts'
import { type DataFolder, dataFolder } from './stack/data-folder.ts'
import { readStackFile } from './stack/stack-file.ts'

/** Where a stack keeps its data unless told otherwise. */
export const defaultDataFolder = '.avatar'

/** The broker is expected to answer a person within this time. */
const brokerAnswersMs = 5_000

type Environment = Readonly<Record<string, string | undefined>>

/** How to reach a running system: by its data folder, or by environment variables. */
export type System = {
  url: string | undefined
  nats: { url: string; user: string; password: string } | undefined
  /** Only for a system that runs on this machine. */
  data: DataFolder | undefined
}

/**
 * The system that a command is about: the one of `--data`, else the one that the environment names
 * (`AVATAR_URL`; `NATS_URL`, `NATS_USER`, `NATS_PASSWORD`), else the one of `.avatar/`.
 *
 * @throws UserError when none runs there
 */
export async function findSystem(folder: string | undefined, env: Environment): Promise<System> {
  const isNamed = env['AVATAR_URL'] !== undefined || env['NATS_URL'] !== undefined
  if (folder === undefined && isNamed)
    return { url: env['AVATAR_URL'], nats: natsOfEnvironment(env), data: undefined }
  const data = dataFolder(folder ?? defaultDataFolder)
  const stack = await readStackFile(data)
  if (!stack)
    throw new UserError(
      `No running system was found in ${data.path}; start one with: npx avatar up`,
      exitCodes.unreachable,
    )
  const { protocol, host, username, password } = new URL(stack.nats.url)
  return {
    url: stack.url,
    nats: { url: `${protocol}//${host}`, user: username, password },
    data,
  }
}

function natsOfEnvironment(env: Environment): System['nats'] {
  const { NATS_URL: url, NATS_USER: user = 'operator', NATS_PASSWORD: password } = env
  return url && password ? { url, user, password } : undefined
}

/**
 * Does something as the broker's operator, and closes the connection.
 *
 * @throws UserError when the broker is not known or does not answer
 */
export async function asOperator<T>(system: System, act: (bus: Bus) => Promise<T>): Promise<T> {
  if (!system.nats)
    throw new UserError('Set NATS_URL and NATS_PASSWORD (of the user "operator"), or give --data.')
  const bus = await connectTo(system.nats)
  try {
    return await act(bus)
  } finally {
    await bus.stop()
  }
}

/**
 * A connection to the broker.
 *
 * @throws UserError when the broker does not answer, or does not know the user
 */
export async function connectTo(nats: NonNullable<System['nats']>): Promise<Bus> {
  const { url, user, password } = nats
  const late = systemClock.wait(brokerAnswersMs).then(() => undefined)
  const connecting = connectBus({
    url,
    user,
    password,
    inboxPrefix: inboxPrefix(user),
    log: createLog('cli', 'silent'),
  })
  const bus = await Promise.race([connecting, late])
  if (bus) return bus
  throw new UserError(
    `The broker at ${url} did not let us in within ${brokerAnswersMs / 1000} s.`,
    exitCodes.unreachable,
  )
}
