import { Command, CommanderError, InvalidArgumentError } from 'commander'
import type { CommandContext } from './command-context.ts'
import { exitCodes, UserError } from './exit-codes.ts'
import { AlreadyRunning } from './stack/leftovers.ts'
import { PortTaken } from './stack/ports.ts'
import { NotSetUp } from './stack/start-stack.ts'

/** Where a stack keeps its data unless told otherwise. */
const defaultDataFolder = '.avatar'

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
  return program
}

function parsePort(text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new InvalidArgumentError('A port is a number from 1 to 65535.')
  return port
}
