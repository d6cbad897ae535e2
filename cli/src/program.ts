import { Command, CommanderError, InvalidArgumentError } from 'commander'
import type { CommandContext } from './command-context.ts'
import { dataOption, jsonOption } from './command-options.ts'
import type { DemoOptions } from './commands/demo.ts'
import type { GenerateOptions } from './commands/generate.ts'
import type { KeysOptions } from './commands/keys.ts'
import type { LimitsOptions } from './commands/limits.ts'
import type { UpOptions } from './commands/up.ts'
import { exitCodes, UserError } from './exit-codes.ts'
import { withLimitOptions } from './limit-options.ts'
import { addOperatorCommands } from './operator-commands.ts'
import { parseReplicas } from './stack/instances.ts'
import { submissionOf, withSubmissionFlags } from './submission-flags.ts'
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
    if (isUnreachable(error)) {
      context.stderr.write(`avatar: The broker did not let us in: ${error.message}\n`)
      return exitCodes.unreachable
    }
    context.stderr.write(`avatar: ${error instanceof Error ? error.message : String(error)}\n`)
    if (error instanceof UserError) return error.exitCode
    if (error instanceof Error) context.stderr.write(`${error.stack}\n`)
    return exitCodes.failed
  }
}

/** By its name: loading its class would load the client of the broker for every command. */
function isUnreachable(error: unknown): error is Error {
  return error instanceof Error && error.name === 'BrokerUnreachable'
}

/** Commands are loaded when they run: `avatar --help` needs neither the broker's nor S3's client. */
function buildProgram(context: CommandContext, onExit: (code: number) => void): Command {
  const program = new Command('avatar')
    .description('Talking-avatar videos from a portrait and a voice.')
    // Else an option of `costs forget` would count as one of `costs`.
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
    })

  program
    .command('up')
    .description('run the whole system in the foreground; one Ctrl-C stops it')
    .option(
      '--data <dir>',
      `where it keeps its data (default: AVATAR_DATA_DIR, else ${defaultDataFolder})`,
    )
    .option(
      '--port <port>',
      'port of the REST API; 0 for any free one (default: HTTP_PORT, else 8080 or a free one)',
      parsePort,
    )
    .option(
      '--replicas <counts>',
      'how many processes of a service run, such as ingest=2,orchestrator=2 (default: one of each)',
      parseReplicas,
    )
    .option(
      '--observe',
      'run Prometheus and Alertmanager beside it, where they are installed (npm run setup -- --with monitoring)',
    )
    .action(async (options: UpOptions) => {
      const { up } = await import('./commands/up.ts')
      onExit(await up(options, context))
    })
  addVideoCommands(program, context, onExit)
  addKeyCommands(program, context)
  addOperatorCommands(program, context, onExit)
  program
    .command('status')
    .description('what runs where, and whether it is ready; or how one job is')
    .argument('[job]', "the job's id, of any owner")
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (job: string | undefined, options: KeysOptions) => {
      if (job !== undefined) {
        const { jobStatus } = await import('./commands/job-status.ts')
        return jobStatus(job, options, context)
      }
      const { status } = await import('./commands/status.ts')
      await status(options, context)
    })
  program
    .command('doctor')
    .description('check what can be wrong and print the command that repairs it')
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (options: KeysOptions) => {
      const { doctor } = await import('./commands/doctor.ts')
      onExit(await doctor(options, context))
    })
  return program
}

function addVideoCommands(
  program: Command,
  context: CommandContext,
  onExit: (code: number) => void,
) {
  const generating = program
    .command('generate')
    .description('make one video; shows its place, stage, percent and time left')
  withSubmissionFlags(generating)
    .option('-o, --out <file>', 'where the video goes', 'out.mp4')
    .option('--key <key>', 'API key (default: AVATAR_API_KEY, else one made for this machine)')
    .option('--url <url>', 'the API (default: AVATAR_URL, else the system of --data)')
    .option(...dataOption)
    .option('--json', 'print each change as one line of JSON on standard output')
    .addHelpText('after', exitCodeHelp)
    .action(async (options: GenerateOptions) => {
      const { generate } = await import('./commands/generate.ts')
      await generate(submissionOf(options), options, context)
    })
  program
    .command('demo')
    .description('start everything, render the example, stop everything')
    .option('--image <file>', 'a portrait of your own')
    .option('--audio <file>', 'a voice of your own')
    .option('--out <file>', 'where the video goes', 'out/demo.mp4')
    .option('--data <dir>', 'where it works; deleted at the end', `${defaultDataFolder}/demo`)
    .action(async (options: DemoOptions) => {
      const { demo } = await import('./commands/demo.ts')
      onExit(await demo(options, context))
    })
}

const exitCodeHelp = `
Ctrl-C cancels the job and waits for its end; a second one, more than a second later, leaves at once.
The system may be restarted in the meantime: the job is followed again when it is back.

Exit codes:
  ${exitCodes.ok}    the video is there
  ${exitCodes.failed}    something unexpected went wrong
  ${exitCodes.usage}    wrong options or missing files
  ${exitCodes.refused}    the API refused the request (key, media or fields)
  ${exitCodes.jobFailed}    the job failed
  ${exitCodes.jobCancelled}    the job was cancelled by somebody else
  ${exitCodes.unreachable}    the system could not be reached
  ${exitCodes.interrupted}  interrupted; the job was cancelled`

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
  withLimitOptions(keys.command('limits <key-or-owner>'))
    .description("what a key's owner may do; rotating the key keeps it. It is in force in 5 s")
    .option(...dataOption)
    .option(...jsonOption)
    .action(async (which: string, options: LimitsOptions) => {
      const { keyLimits } = await import('./commands/limits.ts')
      await keyLimits(which, options, context)
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
  if (text.trim() === '' || !Number.isInteger(port) || port < 0 || port > 65_535)
    throw new InvalidArgumentError('A port is a number from 0 to 65535.')
  return port
}
