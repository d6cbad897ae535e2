import {
  BrokerUnreachable,
  backupBroker,
  type Change,
  type OperatorAccess,
  ProvisionRefused,
  planProvisioning,
  provisionBroker,
  refusedOf,
  restoreBroker,
  SnapshotError,
} from '@avatar/backing-services'
import {
  ConfigError,
  loadConfig,
  objectStoreOf,
  storeConfig,
  systemClock,
  withStoreAddress,
} from '@avatar/service-kit'
import { z } from 'zod'
import type { CommandContext } from '../command-context.ts'
import { exitCodes, UserError, usageError } from '../exit-codes.ts'
import { ensureCredentials } from '../stack/credentials.ts'
import { timingsOf } from '../stack/settings.ts'
import { readStackFile, storeOf } from '../stack/stack-file.ts'
import { findSystem, operatorAccess, type System } from '../system.ts'
import { table } from '../table.ts'

export type SystemOptions = { data?: string; json?: boolean }

/** How long `provision` waits for the broker and the store: they may be starting beside it. */
const serversWithinMs = 60_000
const lookAgainMs = 500

const clusterConfig = z.object({
  STREAM_REPLICAS: z.coerce.number().int().min(1).max(5).default(1),
  RELEASE: z.string().min(1).max(100).default('unknown'),
})

export type ProvisionCommandOptions = SystemOptions & {
  plan?: boolean
  allowShrink?: boolean
  keepWider?: boolean
}

/**
 * `avatar system provision`: makes every stream, bucket and consumer, and the store's bucket. It waits for
 * the servers. With `--plan` it prints what it would do.
 *
 * @returns 1 when the plan has what would lose data, unless that is allowed, or what the broker refuses
 */
export async function provision(
  options: ProvisionCommandOptions,
  context: CommandContext,
): Promise<number> {
  const system = await findSystem(options.data, context.env)
  const access = operatorAccess(system)
  const timings = timingsOf(context.env)
  const { STREAM_REPLICAS: replicas, RELEASE: release } = clusterOf(context)
  const publishers = system.data
    ? Object.keys((await ensureCredentials(system.data)).publishers)
    : []
  const settings = { publishers, replicas, release }
  const plan = await withinTime('The broker', () => planProvisioning(access, timings, settings))
  const wider = options.allowShrink ? 'shrink' : options.keepWider ? 'keep' : 'refuse'
  const refused = refusedOf(plan, wider)
  if (options.plan || refused.length > 0) {
    tellPlan(plan, options, context)
    if (refused.length > 0) context.stderr.write(adviceOn(refused))
    return refused.length > 0 ? exitCodes.failed : exitCodes.ok
  }
  const doing = provisionBroker(access, timings, { ...settings, wider, plan })
  const done = await doing.catch(asUserError)
  await ensureStoreBucket(system, context)
  tellPlan(done, options, context)
  return exitCodes.ok
}

/** `avatar system backup DIR`: what the broker holds, as files. The system may run meanwhile. */
export async function backup(folder: string, options: SystemOptions, context: CommandContext) {
  const manifest = await withBroker(options, context, (access) =>
    backupBroker(access, folder, systemClock.nowMs()),
  )
  tellStreams(manifest.streams, options, context)
}

/** `avatar system restore DIR`: into a broker that holds nothing, before the services start. */
export async function restore(
  folder: string,
  options: SystemOptions & { force?: boolean },
  context: CommandContext,
) {
  const { force = false } = options
  const manifest = await withBroker(options, context, (access) =>
    restoreBroker(access, folder, { force }),
  )
  tellStreams(manifest.streams, options, context)
}

async function withBroker<T>(
  { data }: SystemOptions,
  { env }: CommandContext,
  act: (access: OperatorAccess) => Promise<T>,
): Promise<T> {
  return act(operatorAccess(await findSystem(data, env))).catch(asUserError)
}

function asUserError(error: unknown): never {
  if (!(error instanceof Error)) throw error
  if (error instanceof SnapshotError) throw new UserError(error.message)
  if (error instanceof ProvisionRefused) throw new UserError(adviceOn(error.changes))
  throw error
}

function clusterOf({ env }: CommandContext) {
  try {
    return loadConfig(clusterConfig, env)
  } catch (error) {
    throw error instanceof ConfigError ? usageError(error.message, error) : error
  }
}

/** Repeats until the server is there. @throws UserError when it is not in time */
async function withinTime<T>(who: string, act: () => Promise<T>): Promise<T> {
  const deadlineMs = systemClock.monotonicMs() + serversWithinMs
  for (;;) {
    try {
      return await act()
    } catch (error) {
      if (error instanceof BrokerUnreachable && error.isRefusal) throw error
      if (systemClock.monotonicMs() > deadlineMs) throw unanswered(who, error)
      await systemClock.wait(lookAgainMs)
    }
  }
}

function unanswered(who: string, cause: unknown): UserError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  const error = new UserError(
    `${who} did not answer within ${serversWithinMs / 1000} s: ${reason}`,
    exitCodes.unreachable,
  )
  error.cause = cause
  return error
}

/** The bucket of media, by the environment or by the system of the data folder. */
async function ensureStoreBucket(system: System, { env }: CommandContext) {
  const stack = system.data && (await readStackFile(system.data))
  const store = stack ? storeOf(stack.s3) : storeOfEnvironment(env)
  if (!store) return
  try {
    await withinTime('The store', async () => {
      if (!(await store.ensureBucket())) throw new Error('the bucket could not be made')
    })
  } finally {
    store.stop()
  }
}

/** Undefined where the environment names no store: one that is not ours has its bucket already. */
function storeOfEnvironment(env: CommandContext['env']) {
  if (!env['R2_BUCKET_NAME']) return undefined
  try {
    return objectStoreOf(
      loadConfig(withStoreAddress(z.object(storeConfig)), env),
      timingsOf(env),
      systemClock,
    )
  } catch (error) {
    throw error instanceof ConfigError ? usageError(error.message, error) : error
  }
}

function tellPlan(changes: readonly Change[], { json }: SystemOptions, { stdout }: CommandContext) {
  if (json) stdout.write(`${JSON.stringify({ changes })}\n`)
  else if (changes.length === 0) stdout.write('Everything is provisioned.\n')
  else for (const change of changes) stdout.write(`${describe(change)}\n`)
}

function describe({ kind, what, fields }: Change): string {
  const differences = fields.map(
    ({ field, from, to }) => `${field} ${JSON.stringify(from ?? null)} -> ${JSON.stringify(to)}`,
  )
  return [`${kind} ${what}`, ...(differences.length > 0 ? [differences.join(', ')] : [])].join(': ')
}

function adviceOn(refused: readonly Change[]): string {
  const shrinks = refused.some(({ kind }) => kind === 'shrink')
  const impossible = refused.some(({ kind }) => kind === 'impossible')
  return [
    'Nothing was changed.',
    shrinks &&
      'To shrink a stream deletes at once what no longer fits: allow it with --allow-shrink, or leave wider streams as they are with --keep-wider.',
    impossible &&
      'The broker never makes the changes marked impossible: make a new stream beside it, copy its messages, and switch.',
  ]
    .filter(Boolean)
    .map((line) => `${line}\n`)
    .join('')
}

function tellStreams(
  streams: readonly { name: string; messages: number; bytes: number; sha256: string }[],
  { json }: SystemOptions,
  { stdout }: CommandContext,
) {
  const rows = streams.map(({ name, messages, bytes, sha256 }) => ({
    name,
    messages,
    bytes,
    sha256,
  }))
  stdout.write(
    json
      ? `${JSON.stringify({ streams: rows })}\n`
      : table(
          ['STREAM', 'MESSAGES', 'BYTES'],
          rows.map(({ name, messages, bytes }) => [name, String(messages), String(bytes)]),
        ),
  )
}
