import type { WriteStream } from 'node:tty'
import type { SignalSource } from './stop-wish.ts'

/** What a command is given of the process it runs in. */
export type CommandContext = {
  env: Readonly<Record<string, string | undefined>>
  stdout: WriteStream
  stderr: WriteStream
  signals: SignalSource
}
