import type { WriteStream } from 'node:tty'
import type { SignalSource } from './stop-signals.ts'

/** What a command gets from the process that it runs in. */
export type CommandContext = {
  env: Readonly<Record<string, string | undefined>>
  /** Path of the `.env` file; see `withEnvFile`. */
  envFile: string
  stdout: WriteStream
  stderr: WriteStream
  signals: SignalSource
}
