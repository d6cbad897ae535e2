import type { CommandContext } from '../command-context.ts'
import { dataFolderFindings, portFinding } from '../doctor/data-folder.ts'
import { type Finding, finding } from '../doctor/finding.ts'
import { installed } from '../doctor/installed.ts'
import { runningFindings } from '../doctor/running.ts'
import { withEnvFile } from '../env-file.ts'
import { exitCodes } from '../exit-codes.ts'
import { readStackFile } from '../stack/stack-file.ts'
import { findSystem, folderOf, namesRemoteSystem } from '../system.ts'

/** `avatar doctor`: checks what can be wrong and prints the commands that repair it. */
export async function doctor(
  options: { data?: string; json?: boolean },
  context: CommandContext,
): Promise<number> {
  const { env, stdout } = context
  const findings = [
    // What is installed here says nothing about a system elsewhere.
    ...(isElsewhere(options.data, env) ? [] : installed(await withEnvFile(context))),
    ...(await systemFindings(options.data, env)),
  ]
  const isGood = findings.every((one) => one.isGood)
  if (options.json) stdout.write(`${JSON.stringify({ ok: isGood, findings })}\n`)
  else stdout.write(findings.map(describe).join(''))
  return isGood ? exitCodes.ok : exitCodes.failed
}

function isElsewhere(folder: string | undefined, env: CommandContext['env']): boolean {
  return !folder && namesRemoteSystem(env)
}

async function systemFindings(
  folder: string | undefined,
  env: CommandContext['env'],
): Promise<Finding[]> {
  if (isElsewhere(folder, env)) return runningFindings(await findSystem(undefined, env), undefined)
  const data = folderOf(folder, env)
  const stack = await readStackFile(data)
  if (stack)
    return [
      ...dataFolderFindings(data),
      ...(await runningFindings(await findSystem(data.path, env), stack)),
    ]
  const seen = `none runs in ${data.path}; start it with: npx avatar up --data ${data.path}`
  return [...dataFolderFindings(data), await portFinding(data), finding('system', true, seen, '')]
}

function describe({ name, isGood, seen, repair }: Finding): string {
  const line = `${isGood ? 'ok  ' : 'BAD '} ${name}: ${seen}\n`
  return isGood || !repair ? line : `${line}     → ${repair}\n`
}
