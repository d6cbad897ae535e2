import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * The hashed locks of the sidecar, and the parts of pyproject.toml that each must hold. `beside` are the
 * locks that are installed beside it: all those before it. torch is in none: the same version is a
 * different file on every kind of machine.
 */
export const pythonLocks = [
  { file: 'requirements.lock', parts: ['dependencies', 'preview', 'stack', 'dev'] },
  { file: 'requirements-engine.lock', parts: ['dependencies', 'engine'] },
  { file: 'requirements-reference.lock', parts: ['dependencies', 'engine', 'reference'] },
].map((lock, at, all) => ({ ...lock, beside: all.slice(0, at).map(({ file }) => file) }))

export async function pythonLockfileProblems(sidecar: string): Promise<string[]> {
  const read = (file: string) => readFile(join(sidecar, file), 'utf8')
  const pyproject = await read('pyproject.toml')
  const problems = await Promise.all(
    pythonLocks.map(async ({ file, parts, beside }) => {
      const lock = await read(file)
      const others = await Promise.all(
        beside.map(async (other) => disagreements(file, lock, other, await read(other))),
      )
      return [...pythonLockProblems(file, lock, namesIn(pyproject, parts)), ...others.flat()]
    }),
  )
  return problems.flat()
}

/** What is wrong with one hashed lock, which must hold the `wanted` packages. */
export function pythonLockProblems(file: string, lock: string, wanted: string[]): string[] {
  const problems: string[] = []
  for (const [name, block] of blocksOf(lock)) {
    if (!/^[\w.-]+==/.test(block)) problems.push(`${file}: ${name} is not pinned`)
    if (!block.includes('--hash=sha256:')) problems.push(`${file}: ${name} has no hash`)
    if (/^(torch|triton|nvidia-)/.test(name)) problems.push(`${file}: ${name} must not be in it`)
  }
  if (/https?:\/\//.test(lock)) problems.push(`${file}: has a download address`)
  const pins = pinsOf(lock)
  for (const name of wanted) {
    if (pins.has(normalised(name))) continue
    problems.push(`${file}: ${name} of pyproject.toml is missing (npm run lock:python)`)
  }
  return problems
}

/** Packages whose versions differ between two locks that are installed into one environment. */
export function disagreements(
  file: string,
  lock: string,
  otherFile: string,
  otherLock: string,
): string[] {
  const otherPins = pinsOf(otherLock)
  return [...pinsOf(lock)].flatMap(([name, versions]) => {
    const others = otherPins.get(name)
    if (!others || [...versions].every((version) => others.has(version))) return []
    const pair = `${[...versions].join(', ')} here and ${[...others].join(', ')} in ${otherFile}`
    return [`${file}: ${name} is ${pair} (npm run lock:python)`]
  })
}

/** The versions of each package: a lock for several Pythons can have more than one. */
function pinsOf(lock: string): Map<string, Set<string>> {
  const pins = new Map<string, Set<string>>()
  for (const [name, block] of blocksOf(lock)) {
    const version = /^[\w.-]+==([^\s;]+)/.exec(block)?.[1] ?? ''
    const key = normalised(name)
    pins.set(key, (pins.get(key) ?? new Set()).add(version))
  }
  return pins
}

function blocksOf(lock: string): [name: string, block: string][] {
  const blocks = lock.split(/\n(?=\S)/).filter((part) => /^[a-z]/i.test(part))
  return blocks.map((block) => [/^[\w.-]+/.exec(block)?.[0] ?? block, block])
}

/** The names of the packages in these lists of pyproject.toml: `dependencies` and extras. */
export function namesIn(pyproject: string, parts: readonly string[]): string[] {
  const lists = pyproject.matchAll(/^([\w-]+) = \[([\s\S]*?)\]\s*$/gm)
  return [...lists]
    .filter(([, part = '']) => parts.includes(part))
    .flatMap(([, , list = '']) =>
      [...list.matchAll(/"([\w.-]+)[^"]*"/g)].map(([, name = '']) => name),
    )
}

function normalised(name: string): string {
  return name.toLowerCase().replaceAll(/[-_.]+/g, '-')
}
