import type { WriteStream } from 'node:tty'

/** What a command is given of the process it runs in. */
export type CommandContext = {
  env: Readonly<Record<string, string | undefined>>
  stdout: WriteStream
  stderr: WriteStream
}
