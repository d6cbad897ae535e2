import { inboxPrefix } from '@avatar/contracts'
import type { CommandContext } from '../command-context.ts'
import { UserError } from '../exit-codes.ts'
import { inPlace, openPlace, type Place, type PlaceOptions } from '../publishers/place.ts'
import { type Credentials, withPoolUser } from '../stack/credentials.ts'
import { connectTo } from '../system.ts'
import { table } from '../table.ts'
import { poolNamed } from '../workers/pool-name.ts'

export type PoolOptions = PlaceOptions & { json?: boolean }
export type RemovePoolOptions = PoolOptions & { older?: boolean }

/** On a busy machine a broker can be slow to read a new configuration. */
const knownWithinMs = 30_000

/** `avatar workers pool add`: a NATS user for the workers of a pool, who are on other machines. */
export async function addPool(name: string, options: PoolOptions, context: CommandContext) {
  const pool = poolNamed(name)
  await inPlace(options, context, async (place) => {
    const credentials = await place.credentials()
    if (usersOf(credentials, pool).length > 0)
      throw new UserError(
        `There is a pool "${pool}" already; for another password: avatar workers pool rotate ${pool}`,
      )
    show(await addUser(pool, credentials, place), options, context)
  })
}

/**
 * `avatar workers pool rotate`: one more user for a pool. The earlier one stays, and with it the workers that
 * are at work, until `remove --older`.
 */
export async function rotatePool(name: string, options: PoolOptions, context: CommandContext) {
  const pool = poolNamed(name)
  await inPlace(options, context, async (place) => {
    const credentials = await place.credentials()
    if (usersOf(credentials, pool).length === 0) throw new UserError(`There is no pool "${pool}".`)
    show(await addUser(pool, credentials, place), options, context)
  })
}

/** `avatar workers pool remove`: ends the access of a pool's users at once, or only of those before the last. */
export async function removePool(
  name: string,
  options: RemovePoolOptions,
  context: CommandContext,
) {
  const pool = poolNamed(name)
  await inPlace(options, context, async (place) => {
    const credentials = await place.credentials()
    const users = usersOf(credentials, pool)
    if (users.length === 0) throw new UserError(`There is no pool "${pool}".`)
    const removed = options.older ? users.slice(0, -1) : users
    const names = removed.map(({ user }) => user)
    await place.write({
      ...credentials,
      poolUsers: credentials.poolUsers.filter(({ user }) => !names.includes(user)),
    })
    await place.reloadBroker()
    context.stdout.write(
      options.json
        ? `${JSON.stringify({ pool, removed: names })}\n`
        : `${names.length === 0 ? 'no user' : names.join(', ')} removed\n`,
    )
  })
}

/** `avatar workers pool list`: the pools' users, without their passwords. */
export async function listPools(options: PoolOptions, context: CommandContext) {
  const { poolUsers } = await (await openPlace(options, context)).credentials()
  const pools = poolUsers.map(({ pool, user }) => ({ pool, user }))
  context.stdout.write(
    options.json
      ? `${JSON.stringify({ pools })}\n`
      : table(
          ['POOL', 'USER'],
          pools.map(({ pool, user }) => [pool, user]),
        ),
  )
}

function usersOf({ poolUsers }: Credentials, pool: string) {
  return poolUsers.filter((each) => each.pool === pool)
}

/**
 * @returns what a worker of the pool needs to know, once the broker lets it in
 * @throws UserError when it does not; then everything is as before
 */
async function addUser(pool: string, before: Credentials, place: Place) {
  const after = withPoolUser(before, pool)
  const added = usersOf(after, pool).at(-1)
  if (!added) throw new Error(`no user was made for ${pool}`)
  const { user, password } = added
  const nats = { url: place.operator.url, user, password }
  try {
    await place.write(after)
    await place.reloadBroker()
    // Shown only once it works.
    await (await connectTo(nats, knownWithinMs)).stop()
  } catch (error) {
    await place.write(before) // Secrets that nobody has seen would only block the next try.
    await Promise.allSettled([place.reloadBroker()])
    throw error
  }
  return { pool, nats: { ...nats, inbox_prefix: inboxPrefix(user) } }
}

function show(access: object, { json }: PoolOptions, { stdout }: CommandContext) {
  stdout.write(
    json
      ? `${JSON.stringify(access)}\n`
      : `${JSON.stringify(access, null, 2)}\n\nKeep them now: they are not shown again.\n`,
  )
}
