import type { Step } from '../deployment.ts'

/** From here on the command line knows what the new release needs. */
export const commandLine: Step = {
  name: 'command line',
  run: ({ platform, target }) => platform.useCommandLine(target),
  undo: ({ platform }, before) => platform.useCommandLine(before),
}
