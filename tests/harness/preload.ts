/**
 * Loaded into every Node process of a system by `NODE_OPTIONS=--import`. `avatar up` shows lines as
 * sentences, so what its processes really write is copied here. In services it fails on demand.
 */
import child, { type ChildProcess } from 'node:child_process'
import { appendFileSync, readFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { basename, join } from 'node:path'

const folder = process.env['AVATAR_TEST_OUTPUT'] ?? ''

if (process.argv.includes('up')) {
  const { spawn } = child
  const copying = (...call: Parameters<typeof spawn>): ChildProcess => {
    const started = spawn(...call)
    const [command, args = []] = call
    for (const name of ['stdout', 'stderr'] as const)
      started[name]?.on('data', (data: Buffer) =>
        appendFileSync(join(folder, `${programOf(command, args)}.${started.pid}.${name}`), data),
      )
    return started
  }
  child.spawn = copying as typeof spawn // It has the same parameters, in whichever overload.
  syncBuiltinESMExports()
} else process.on('SIGUSR2', () => new Function(readFileSync(join(folder, 'fail.js'), 'utf8'))())

/** `ingest` for `…/ingest/src/main.ts`, `sidecar` for Python, else the command's own name. */
function programOf(command: string, args: readonly string[]): string {
  const main = args.find((word) => word.endsWith('/src/main.ts'))
  if (main) return main.split('/').at(-3) ?? ''
  return args.includes('inference_sidecar') ? 'sidecar' : basename(command)
}
