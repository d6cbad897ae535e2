import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * The hashed locks of the sidecar, and the parts of pyproject.toml that each must hold. `beside` are the
 * locks that are installed beside it: all those before it. torch is in none: the same version is a
 * different file on every kind of machine.
 */
export const pythonLocks = [
  { file: 'requirements.lock', parts: ['dependencies', 'preview', 'stack', 'dev'] },
  { file: 'requirements-engine.lock', parts: ['dependencies', 'engine', 'gpu'] },
  { file: 'requirements-reference.lock', parts: ['dependencies', 'engine', 'gpu', 'reference'] },
  { file: 'requirements-runpod.lock', parts: ['dependencies', 'runpod'] },
  { file: 'requirements-deploy.lock', parts: ['dependencies', 'deploy'] },
].map((lock, at, all) => ({ ...lock, beside: all.slice(0, at).map(({ file }) => file) }))

/**
 * The locks of the container images: parts of the locks above with the same versions, without what only
 * development needs. An image is for one kind of machine, so torch and its CUDA libraries are locked too.
 * `only` names single packages instead of parts; `within` are the locks that give the versions.
 */
export const imageLocks: readonly {
  file: string
  parts: readonly string[]
  only: readonly string[]
  within: readonly string[]
}[] = [
  {
    file: 'requirements-preview.lock',
    parts: ['dependencies', 'preview'],
    only: [],
    within: ['requirements.lock'],
  },
  {
    file: 'requirements-gpu.lock',
    parts: ['dependencies', 'engine', 'gpu', 'torch', 'triton'],
    only: [],
    within: ['requirements.lock', 'requirements-engine.lock'],
  },
  {
    file: '../deploy/docker/ffmpeg.lock',
    parts: [],
    only: ['imageio-ffmpeg'],
    within: ['requirements.lock'],
  },
]

export function readPyproject(sidecar: string): string {
  return readFileSync(join(sidecar, 'pyproject.toml'), 'utf8')
}

/** The packages of `[tool.uv] override-dependencies`. */
export function overridesIn(pyproject: string): string[] {
  const list = /^override-dependencies = \[(.*)\]$/m.exec(pyproject)?.[1] ?? ''
  return [...list.matchAll(/"([^"]+)"/g)].map(([, each = '']) => each)
}

export async function pythonLockfileProblems(sidecar: string): Promise<string[]> {
  const read = (file: string) => readFile(join(sidecar, file), 'utf8')
  const pyproject = readPyproject(sidecar)
  const unlike = async (file: string, lock: string, others: readonly string[]) =>
    Promise.all(others.map(async (other) => disagreements(file, lock, other, await read(other))))
  const problems = await Promise.all([
    ...pythonLocks.map(async ({ file, parts, beside }) => {
      const lock = await read(file)
      const others = await unlike(file, lock, beside)
      return [...pythonLockProblems(file, lock, namesIn(pyproject, parts)), ...others.flat()]
    }),
    ...imageLocks.map(async ({ file, parts, only, within }) => {
      const lock = await read(file)
      const others = await unlike(file, lock, within)
      const wanted = [...namesIn(pyproject, parts), ...only]
      return [...pythonLockProblems(file, lock, wanted, 'one machine'), ...others.flat()]
    }),
  ])
  return problems.flat()
}

/** What is wrong with one hashed lock, which must hold the `wanted` packages. */
export function pythonLockProblems(
  file: string,
  lock: string,
  wanted: readonly string[],
  machines: 'every machine' | 'one machine' = 'every machine',
): string[] {
  const problems: string[] = []
  for (const [name, block] of blocksOf(lock)) {
    if (!/^[\w.-]+==/.test(block)) problems.push(`${file}: ${name} is not pinned`)
    if (!block.includes('--hash=sha256:')) problems.push(`${file}: ${name} has no hash`)
    if (machines === 'every machine' && /^(torch|triton|nvidia-(?!ml-py))/.test(name))
      problems.push(`${file}: ${name} must not be in it`)
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
