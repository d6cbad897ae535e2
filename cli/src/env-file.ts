import { parseEnv } from 'node:util'
import type { CommandContext } from './command-context.ts'
import { exitCodes, UserError } from './exit-codes.ts'
import { readIfThere } from './stack/data-folder.ts'
import type { Environment } from './stack/settings.ts'

/**
 * The environment that a system is started with: the variables of the `.env` file, where there is one,
 * and over them those of the caller.
 *
 * @throws UserError when the file cannot be read, or has a line that is no assignment
 */
export async function withEnvFile({ env, envFile }: CommandContext): Promise<Environment> {
  const text = await readIfThere(envFile).catch((error: Error) => {
    throw new UserError(`${envFile} cannot be read: ${error.message}`, exitCodes.usage)
  })
  if (text === undefined) return env
  const wrong = lineThatIsNoAssignment(text)
  if (wrong !== undefined)
    throw new UserError(`${envFile}, line ${wrong}: expected NAME=value`, exitCodes.usage)
  return { ...parseEnv(text), ...env }
}

/** Node skips such a line in silence. Counted from 1; a quoted value may go over several lines. */
function lineThatIsNoAssignment(text: string): number | undefined {
  const withoutQuoted = text.replaceAll(
    /^\s*(export\s+)?\w+\s*=[ \t]*(["'`])[\s\S]*?\2/gm,
    (quoted) => quoted.replaceAll(/[^\n]/g, '#'),
  )
  const isFine = (line: string) => /^\s*(#.*|(export\s+)?[A-Za-z_]\w*\s*=.*)?$/.test(line)
  const at = withoutQuoted.split('\n').findIndex((line) => !isFine(line))
  return at < 0 ? undefined : at + 1
}
