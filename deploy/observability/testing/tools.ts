import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { promisify } from 'node:util'

const fetched = resolve(import.meta.dirname, '../../../.tools/usr/bin')

/** `promtool` or `amtool`: where set-up put it, else on PATH; undefined where there is none. */
export function findTool(name: 'promtool' | 'amtool'): string | undefined {
  const folders = [fetched, ...(process.env['PATH'] ?? '').split(delimiter)]
  return folders.map((folder) => join(folder, name)).find(isExecutable)
}

/** Why the tests of a tool are left out, or false: never in CI, where a missing tool is a failure. */
export function skipsWithout(name: 'promtool' | 'amtool'): boolean {
  return findTool(name) === undefined && !process.env['CI']
}

/** Runs a tool to its end: what it printed, and whether it was content. */
export async function runTool(
  name: 'promtool' | 'amtool',
  args: readonly string[],
): Promise<{ isContent: boolean; output: string }> {
  const tool = findTool(name)
  if (!tool) throw new Error(`There is no ${name}; run: npm run setup -- --with monitoring`)
  try {
    const { stdout, stderr } = await promisify(execFile)(tool, args, { maxBuffer: 1e8 })
    return { isContent: true, output: stdout + stderr }
  } catch (error) {
    if (!(error instanceof Error) || !('stdout' in error) || !('stderr' in error)) throw error
    return { isContent: false, output: `${error.stdout}${error.stderr}` }
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
