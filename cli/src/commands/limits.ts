import type { Bus } from '@avatar/service-kit'
import type { CommandContext } from '../command-context.ts'
import { withEnvFile } from '../env-file.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { openKeyRing } from '../key-ring.ts'
import { limitsAmong } from '../limit-options.ts'
import { changeLimits, isOwner, namedLimits, parseLimits, showLimits } from '../owner-limits.ts'
import { asOperator, findSystem } from '../system.ts'
import { table } from '../table.ts'

/** Besides these, a value for each limit under the name of its flag. */
export type LimitsOptions = { data?: string; json?: boolean; unset?: string[] }

/** `avatar keys limits`: changes what the owner of a key may do, and shows all of its limits. */
export async function keyLimits(which: string, options: LimitsOptions, context: CommandContext) {
  await limits(options, context, async (bus) => {
    if (which.startsWith('o_') && isOwner(which)) return which
    return (await (await openKeyRing(bus)).find(which)).owner
  })
}

/** `avatar publishers limits`: the same for another service. */
export async function publisherLimits(
  name: string,
  options: LimitsOptions,
  context: CommandContext,
) {
  if (name.startsWith('o_') || !isOwner(name))
    throw new UserError(`"${name}" cannot be the name of a publisher.`, exitCodes.usage)
  await limits(options, context, async () => name)
}

async function limits(
  options: LimitsOptions,
  context: CommandContext,
  ownerOf: (bus: Bus) => Promise<string>,
) {
  const changes = {
    set: parseLimits(limitsAmong(options)),
    unset: namedLimits(options.unset ?? []),
  }
  const env = await withEnvFile(context)
  const system = await findSystem(options.data, context.env)
  await asOperator(system, async (bus) => {
    const owner = await ownerOf(bus)
    const own = await changeLimits(bus, owner, changes)
    const shown = await showLimits(bus, owner, own, env)
    context.stdout.write(
      options.json
        ? `${JSON.stringify({ owner, limits: shown })}\n`
        : `${owner}\n\n${table(
            ['LIMIT', 'VALUE', 'FROM', 'USED'],
            shown.map(({ name, limit, from, used }) => [name, limit ?? 'none', from, used ?? '']),
          )}`,
    )
  })
}
