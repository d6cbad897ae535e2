import { costSplits } from '@avatar/contracts'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { type FaultKind, faultKinds } from './chaos/plan.ts'
import type { CommandContext } from './command-context.ts'
import { configOption, dataOption, jsonOption } from './command-options.ts'
import type { ChaosOptions } from './commands/chaos.ts'
import type { CostsOptions } from './commands/costs.ts'
import type { KeysOptions } from './commands/keys.ts'
import type { LimitsOptions } from './commands/limits.ts'
import type { PublisherOptions } from './commands/publishers.ts'
import type { ProvisionCommandOptions, SystemOptions } from './commands/system.ts'
import type { InitOptions } from './commands/system-init.ts'
import type { ReleaseOptions } from './commands/system-release.ts'
import type { VerifyDeletionOptions } from './commands/verify-deletion.ts'
import type { VerifyJobsOptions } from './commands/verify-jobs.ts'
import type { PoolOptions, RemovePoolOptions } from './commands/worker-pools.ts'
import type { DrainOptions, WorkersOptions } from './commands/workers.ts'
import { exitCodes, UserError } from './exit-codes.ts'
import { withLimitOptions } from './limit-options.ts'
import { parseSeed } from './parse-seed.ts'

const mostMinutes = 24 * 60

type BackupOptions = SystemOptions & { every?: number; keepDays?: number }

/** The commands by which an operator runs a system for others. */
export function addOperatorCommands(
  program: Command,
  context: CommandContext,
  onExit: (code: number) => void,
) {
  addPublisherCommands(program, context)
  addWorkerCommands(program, context, onExit)
  addCostCommands(program, context, onExit)
  addSystemCommands(program, context, onExit)
  addProofCommands(program, context, onExit)
}

function addPublisherCommands(program: Command, context: CommandContext) {
  const publishers = program
    .command('publishers')
    .description('other services that submit jobs by NATS')
  publishers
    .command('create <name>')
    .description('make NATS and S3 credentials for another service; they are shown once')
    .option(...dataOption)
    .option(...configOption)
    .option(...jsonOption)
    .action(async (name: string, options: PublisherOptions) => {
      const { createPublisher } = await import('./commands/publishers.ts')
      await createPublisher(name, options, context)
    })
  publishers
    .command('list')
    .description('list the publishers, without their secrets')
    .option(...dataOption)
    .option(...configOption)
    .option(...jsonOption)
    .action(async (options: PublisherOptions) => {
      const { listPublishers } = await import('./commands/publishers.ts')
      await listPublishers(options, context)
    })
  publishers
    .command('remove <name>')
    .description("end a publisher's access at once; its jobs go on")
    .option(...dataOption)
    .option(...configOption)
    .option(...jsonOption)
    .action(async (name: string, options: PublisherOptions) => {
      const { removePublisherAccess } = await import('./commands/publishers.ts')
      await removePublisherAccess(name, options, context)
    })
  withLimitOptions(publishers.command('limits <name>'))
    .description('what a publisher may do. It is in force in 5 s')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (name: string, options: LimitsOptions) => {
      const { publisherLimits } = await import('./commands/limits.ts')
      await publisherLimits(name, options, context)
    })
}

function addWorkerCommands(
  program: Command,
  context: CommandContext,
  onExit: (code: number) => void,
) {
  const workers = program.command('workers').description('who renders')
  workers
    .command('list')
    .description('the workers whose heartbeats are heard within 3 s')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (options: WorkersOptions) => {
      const { listWorkers } = await import('./commands/workers.ts')
      await listWorkers(options, context)
    })
  workers
    .command('drain [worker]')
    .description(
      'let workers finish the job in hand, take no other, and end; waits until they have',
    )
    .option('--all', 'all that are heard within 3 s')
    .option('--older <release>', 'all of another release than this')
    .option(
      '--within <seconds>',
      'how long to wait for those that finish a job; they leave after it in any case',
      parseSeconds,
    )
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (worker: string | undefined, options: DrainOptions) => {
      const { drainWorkers } = await import('./commands/workers.ts')
      onExit(await drainWorkers(worker, options, context))
    })
  addPoolCommands(
    workers.command('pool').description('users for workers on other machines'),
    context,
  )
}

function addPoolCommands(pools: Command, context: CommandContext) {
  pools
    .command('add <pool>')
    .description('make a NATS user for the workers of a pool; its password is shown once')
    .option(...dataOption)
    .option(...configOption)
    .option(...jsonOption)
    .action(async (pool: string, options: PoolOptions) => {
      const { addPool } = await import('./commands/worker-pools.ts')
      await addPool(pool, options, context)
    })
  pools
    .command('rotate <pool>')
    .description('make one more user; the earlier one works until it is removed')
    .option(...dataOption)
    .option(...configOption)
    .option(...jsonOption)
    .action(async (pool: string, options: PoolOptions) => {
      const { rotatePool } = await import('./commands/worker-pools.ts')
      await rotatePool(pool, options, context)
    })
  pools
    .command('remove <pool>')
    .description("end the access of a pool's users at once")
    .option('--older', 'only of those before the last rotation')
    .option(...dataOption)
    .option(...configOption)
    .option(...jsonOption)
    .action(async (pool: string, options: RemovePoolOptions) => {
      const { removePool } = await import('./commands/worker-pools.ts')
      await removePool(pool, options, context)
    })
  pools
    .command('list')
    .description('list the pools and their users, without passwords')
    .option(...dataOption)
    .option(...configOption)
    .option(...jsonOption)
    .action(async (options: PoolOptions) => {
      const { listPools } = await import('./commands/worker-pools.ts')
      await listPools(options, context)
    })
}

function addCostCommands(
  program: Command,
  context: CommandContext,
  onExit: (code: number) => void,
) {
  const costs = program
    .command('costs')
    .description("what a month cost, or, with --bill, whether a provider's bill is right")
    .option('--month <month>', 'such as 2026-11 (default: this month, UTC)')
    .addOption(new Option('--by <split>', 'a row for each').choices(costSplits).default('day'))
    .option('--bill <amount>', 'post what the provider charged for a pool on a day, and compare')
    .option('--pool <pool>', 'the pool of the bill')
    .option('--day <day>', 'the day of the bill, such as 2026-11-29')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (options: CostsOptions) => {
      const { costs: showCosts } = await import('./commands/costs.ts')
      onExit(await showCosts(options, context))
    })
  costs
    .command('forget <owner>')
    .description("remove one owner's postings from the ledger, for good")
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (owner: string, options: KeysOptions) => {
      const { forgetOwner } = await import('./commands/costs.ts')
      await forgetOwner(owner, options, context)
    })
}

function addSystemCommands(
  program: Command,
  context: CommandContext,
  onExit: (code: number) => void,
) {
  const system = program.command('system').description('what the broker and the store hold')
  system
    .command('init')
    .description('make the credentials of a deployment once, and give each service its part')
    .addOption(
      new Option('--for <target>', 'files for compose, or Secrets on standard output')
        .choices(['compose', 'kubernetes'])
        .makeOptionMandatory(),
    )
    .requiredOption('--out <dir>', 'where the credentials are kept')
    .option(
      '--uid <uid>',
      'user of the containers; only root can give files away',
      parseUid,
      10_001,
    )
    .option(
      '--pool <name>',
      'a user for the workers of a pool elsewhere; more than once for more',
      (name: string, before: readonly string[]) => [...before, name],
      [],
    )
    .action(async (options: InitOptions) => {
      const { init } = await import('./commands/system-init.ts')
      await init(options, context)
    })
  system
    .command('provision')
    .description('make every stream, bucket and consumer; waits for the servers')
    .option('--plan', 'only print what would be changed')
    .option('--allow-shrink', 'also what deletes messages that no longer fit')
    .option('--keep-wider', 'leave streams that are wider than ours as they are')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (options: ProvisionCommandOptions) => {
      const { provision } = await import('./commands/system.ts')
      onExit(await provision(options, context))
    })
  system
    .command('release')
    .description('which release is installed, and which was before it')
    .option('--note <json>', 'note that this release has been installed')
    .option('--rolled-back', 'the one that is noted until now was given up for it')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (options: ReleaseOptions) => {
      const { release } = await import('./commands/system-release.ts')
      await release(options, context)
    })
  system
    .command('backup <dir>')
    .description('save what the broker holds in a new folder; the system may run meanwhile')
    .option(
      '--every <minutes>',
      'go on, each time in a folder of its own within this one',
      parsePositive,
    )
    .option('--keep-days <days>', 'with --every: delete older ones (default: 7)', parsePositive)
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (folder: string, options: BackupOptions) => {
      const { every, keepDays } = options
      if (every === undefined) {
        if (keepDays !== undefined)
          throw new UserError('--keep-days needs --every MINUTES.', exitCodes.usage)
        const { backup } = await import('./commands/system.ts')
        return backup(folder, options, context)
      }
      const { backupRegularly } = await import('./commands/regular-backups.ts')
      onExit(await backupRegularly(folder, { ...options, every, keepDays: keepDays ?? 7 }, context))
    })
  system
    .command('restore <dir>')
    .description('restore a backup into an empty broker, before the services start')
    .option('--force', 'delete what the broker holds')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (folder: string, options: SystemOptions & { force?: boolean }) => {
      const { restore } = await import('./commands/system.ts')
      await restore(folder, options, context)
    })
}

/** The commands by which anybody may doubt us. */
function addProofCommands(
  program: Command,
  context: CommandContext,
  onExit: (code: number) => void,
) {
  program
    .command('chaos')
    .description('load and faults for a system of its own: does it keep its promises?')
    .option(
      '--seed <number>',
      'the same seed, the same faults (default: another each time)',
      parseSeed,
    )
    .option('--minutes <minutes>', 'how long faults happen', parseMinutes, 1)
    .option('--jobs-per-minute <jobs>', 'how many jobs are submitted (default: 24)', parsePositive)
    .option(
      '--only <kinds>',
      `some kinds of faults alone: ${faultKinds.join(', ')}`,
      parseFaultKinds,
    )
    .option('--log', 'also print what the processes say, on standard error')
    .option(...jsonOption)
    .action(async (options: ChaosOptions) => {
      const { chaos } = await import('./commands/chaos.ts')
      onExit(await chaos(options, context))
    })
  program
    .command('verify-deletion')
    .description('does anything stay of jobs whose time is over?')
    .option('--job <id>', 'only this job, with what was removed')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (options: VerifyDeletionOptions) => {
      const { verifyDeletion } = await import('./commands/verify-deletion.ts')
      onExit(await verifyDeletion(options, context))
    })
  program
    .command('verify-jobs')
    .description('do records, events and bucket agree about every job that has ended?')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (options: VerifyJobsOptions) => {
      const { verifyJobs } = await import('./commands/verify-jobs.ts')
      onExit(await verifyJobs(options, context))
    })
}

function parseFaultKinds(text: string): FaultKind[] {
  return text.split(',').map((name) => {
    const found = faultKinds.find((kind) => kind === name.trim())
    if (!found) throw new InvalidArgumentError(`"${name}" is no kind of fault.`)
    return found
  })
}

function parseMinutes(text: string): number {
  const minutes = Number(text)
  if (!(minutes > 0 && minutes <= mostMinutes))
    throw new InvalidArgumentError(`Minutes are a number above 0, at most ${mostMinutes}.`)
  return minutes
}

function parseSeconds(text: string): number {
  const seconds = Number(text)
  if (text.trim() === '' || !Number.isFinite(seconds) || seconds < 0)
    throw new InvalidArgumentError('Seconds are a number, 0 or more.')
  return seconds
}

function parsePositive(text: string): number {
  const number = Number(text)
  if (text.trim() === '' || !Number.isFinite(number) || number <= 0)
    throw new InvalidArgumentError('It is a number above 0.')
  return number
}

function parseUid(text: string): number {
  const uid = Number(text)
  if (text.trim() === '' || !Number.isInteger(uid) || uid < 0)
    throw new InvalidArgumentError('A user is a number, 0 or more.')
  return uid
}
