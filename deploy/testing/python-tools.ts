import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

const programs = resolve(import.meta.dirname, '../../.venv/bin')

/** What `npm run setup -- --with deploy` brings. */
export type DeployTool = 'kubectl' | 'kubernetes-validate' | 'actionlint' | 'check-jsonschema'

/** Why the tests of deployment files are left out, or false: never in CI, where a missing tool is a failure. */
export function skipsWithout(tool: DeployTool): boolean {
  return !isThere(tool) && !process.env['CI']
}

/** Runs a tool to its end: what it printed, and whether it was content. */
export async function runTool(
  tool: DeployTool,
  args: readonly string[],
): Promise<{ isContent: boolean; output: string }> {
  if (!isThere(tool)) throw new Error(`There is no ${tool}; run: npm run setup -- --with deploy`)
  try {
    const { stdout, stderr } = await promisify(execFile)(join(programs, tool), args, {
      maxBuffer: 1e8,
    })
    return { isContent: true, output: stdout + stderr }
  } catch (error) {
    if (!(error instanceof Error) || !('stdout' in error) || !('stderr' in error)) throw error
    return { isContent: false, output: `${error.stdout}${error.stderr}` }
  }
}

function isThere(tool: DeployTool): boolean {
  try {
    accessSync(join(programs, tool), constants.X_OK)
    return true
  } catch {
    return false
  }
}
