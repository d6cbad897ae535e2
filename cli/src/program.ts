import { Command, CommanderError, InvalidArgumentError } from 'commander'
import type { CommandContext } from './command-context.ts'
import type { KeysOptions } from './commands/keys.ts'
import { exitCodes, UserError } from './exit-codes.ts'
import { AlreadyRunning } from './stack/leftovers.ts'
import { PortTaken } from './stack/ports.ts'
import { NotSetUp } from './stack/start-stack.ts'
import { defaultDataFolder } from './system.ts'

/** Runs one command line and returns the exit code. */
export async function runCli(args: readonly string[], context: CommandContext): Promise<number> {
  let exitCode: number = exitCodes.ok
  const program = buildProgram(context, (code) => {
    exitCode = code
  })
  try {
    await program.parseAsync([...args], { from: 'user' })
    return exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCodes.usage
    context.stderr.write(`avatar: ${error instanceof Error ? error.message : String(error)}\n`)
    if (error instanceof UserError) return error.exitCode
    const isTold = [AlreadyRunning, PortTaken, NotSetUp].some((kind) => error instanceof kind)
    if (!isTold && error instanceof Error) context.stderr.write(`${error.stack}\n`)
    return exitCodes.failed
  }
}

/** Commands are loaded when they run: `avatar --help` needs neither the broker's nor S3's client. */
function buildProgram(context: CommandContext, onExit: (code: number) => void): Command {
  const program = new Command('avatar')
    .description('Talking-avatar videos from a portrait and a voice.')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
    })

  program
    .command('up')
    .description('run the whole system in the foreground; one Ctrl-C stops it')
    .option('--data <dir>', 'where it keeps its data', defaultDataFolder)
    .option('--port <port>', 'port of the REST API (default: 8080 or a free one)', parsePort)
    .action(async (options: { data: string; port?: number }) => {
      const { up } = await import('./commands/up.ts')
      onExit(await up(options, context))
    })
  addKeyCommands(program, context)
  return program
}

const dataOption = [
  '--data <dir>',
  `data folder of the system (default: the environment, else ${defaultDataFolder})`,
] as const
const jsonOption = ['--json', 'print JSON alone on standard output'] as const

function addKeyCommands(program: Command, context: CommandContext) {
  const keys = program.command('keys').description('the API keys of the system')
  keys
    .command('create')
    .description('make a key; it is shown once')
    .requiredOption('--name <name>', 'whose key it is, for people', 'default')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (options: KeysOptions & { name: string }) => {
      const { createKey } = await import('./commands/keys.ts')
      await createKey(options, context)
    })
  keys
    .command('list')
    .description('list the keys, without the keys themselves')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (options: KeysOptions) => {
      const { listKeys } = await import('./commands/keys.ts')
      await listKeys(options, context)
    })
  keys
    .command('rotate [id-or-name]')
    .description('make a new key for the same owner')
    .option('--name <name>', 'the key to rotate, by name')
    .option('--grace-hours <hours>', 'how long the old key still works', parseHours, 24)
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (which: string | undefined, options: KeysOptions & RotateOptions) => {
      const { rotateKey } = await import('./commands/keys.ts')
      await rotateKey(namedKey(which, options.name), options, context)
    })
  keys
    .command('revoke [id-or-name]')
    .description('end a key for good')
    .option('--name <name>', 'the key to revoke, by name')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (which: string | undefined, options: KeysOptions & { name?: string }) => {
      const { revokeKey } = await import('./commands/keys.ts')
      await revokeKey(namedKey(which, options.name), options, context)
    })

  program
    .command('publishers')
    .description('other services that submit jobs by NATS')
    .command('create <name>')
    .description('make NATS and S3 credentials for another service; they are shown once')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (name: string, options: KeysOptions) => {
      const { createPublisher } = await import('./commands/publishers.ts')
      await createPublisher(name, options, context)
    })
}

type RotateOptions = { name?: string; graceHours: number }

function namedKey(which: string | undefined, name: string | undefined): string {
  const named = which ?? name
  if (!named) throw new UserError('Name the key: by its id, or by --name.', exitCodes.usage)
  return named
}

function parseHours(text: string): number {
  const hours = Number(text)
  if (!(hours >= 0)) throw new InvalidArgumentError('Hours are a number, 0 or more.')
  return hours
}

function parsePort(text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new InvalidArgumentError('A port is a number from 1 to 65535.')
  return port
}
