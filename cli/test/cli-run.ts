import { EventEmitter } from 'node:events'
import { Writable } from 'node:stream'
import type { WriteStream } from 'node:tty'
import { until } from '@avatar/service-kit/testing'
import type { CommandContext } from '../src/command-context.ts'
import { runCli } from '../src/program.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** A command that runs in this process, and what it has written so far. */
export type Run = {
  exitCode: Promise<number>
  stdout(): string
  stderr(): string
  signal(name: NodeJS.Signals): void
}

/**
 * Runs `avatar ARGS` in this process, as a shell would, without waiting for its end. By default there is
 * no `.env` file.
 */
export function launch(
  args: readonly string[],
  env: Environment = {},
  envFile = '/nowhere/.env',
): Run {
  const stdout = collector()
  const stderr = collector()
  const signals = new EventEmitter()
  const context: CommandContext = {
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
    envFile,
    stdout: stdout.stream,
    stderr: stderr.stream,
    signals,
  }
  return {
    exitCode: runCli(args, context),
    stdout: stdout.text,
    stderr: stderr.text,
    signal: (name) => signals.emit(name),
  }
}

/** Runs `avatar ARGS` to its end. */
export async function avatar(args: readonly string[], env: Environment = {}) {
  const run = launch(args, env)
  const exitCode = await run.exitCode
  return { exitCode, stdout: run.stdout(), stderr: run.stderr() }
}

/** Waits for `avatar up` to say that it is ready, and returns its address. */
export async function readyUrl(run: Run): Promise<string> {
  return until(() => /^avatar-api ready (http:\S+)$/m.exec(run.stdout())?.[1], {
    what: 'the ready line',
  })
}

function collector() {
  const chunks: string[] = []
  const stream = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(String(chunk))
      done()
    },
  })
  // Commands use what only a terminal has where `isTTY` is true.
  return { stream: stream as WriteStream, text: () => chunks.join('') }
}
