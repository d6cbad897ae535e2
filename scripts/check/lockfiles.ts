import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { pythonLockfileProblems } from './python-locks.ts'

/**
 * What is wrong with the lock files of both languages: a requested package that is not pinned, a pin
 * without a hash, or a download address (which would tie everybody to one registry).
 */
export async function lockfileProblems(root: string): Promise<string[]> {
  const read = (path: string) => readFile(join(root, path), 'utf8')
  const npmLock = await read('package-lock.json')
  const { workspaces } = JSON.parse(await read('package.json')) as { workspaces: string[] }
  const manifests = await Promise.all(
    ['', ...workspaces].map(async (folder) => {
      const manifest = JSON.parse(await read(join(folder, 'package.json'))) as Manifest
      return manifestProblems(npmLock, folder, manifest)
    }),
  )
  const python = await pythonLockfileProblems(join(root, 'inference-sidecar'))
  return [...npmLockProblems(npmLock), ...manifests.flat(), ...python]
}

type Manifest = Readonly<Record<string, unknown>>

type NpmLock = { packages: Record<string, LockEntry> }

type LockEntry = Manifest & { integrity?: string; resolved?: string; link?: boolean }

/** The fields of a package.json that the lockfile repeats. `npm ci` compares only the dependencies. */
const repeated = ['version', 'bin', 'dependencies', 'devDependencies']

export function manifestProblems(lock: string, folder: string, manifest: Manifest): string[] {
  // npm wrote it; the type names only the fields that are read here.
  const entry = (JSON.parse(lock) as NpmLock).packages[folder] ?? {}
  return repeated
    .filter((field) => !isDeepStrictEqual(entry[field], manifest[field]))
    .map(
      (field) => `package-lock.json: "${field}" of ${join(folder, 'package.json')} (npm install)`,
    )
}

export function npmLockProblems(text: string): string[] {
  const { packages } = JSON.parse(text) as NpmLock
  return Object.entries(packages).flatMap(([path, entry]) => {
    if (!path.includes('node_modules/') || entry.link) return []
    const problems: string[] = []
    if (entry.resolved) problems.push(`package-lock.json: ${path} has a download address`)
    if (!entry.integrity) problems.push(`package-lock.json: ${path} has no hash`)
    return problems
  })
}

if (import.meta.main) {
  const problems = await lockfileProblems(join(import.meta.dirname, '../..'))
  for (const problem of problems) console.log(problem)
  process.exitCode = problems.length > 0 ? 1 : 0
}
