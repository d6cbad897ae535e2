import { expect, test } from 'vitest'
import { disagreements, namesIn, overridesIn, pythonLockProblems } from './python-locks.ts'

const pinned = (name: string, version: string) =>
  `${name}==${version} \\\n    --hash=sha256:${version}\n`

test('refuses a lock with a package that is missing, not pinned, without a hash or with an address', () => {
  const wanted = ['nats-py', 'pytest']
  const good = pinned('nats-py', '2.16.0') + pinned('pytest', '9.2.0')
  expect(pythonLockProblems('a.lock', good, wanted)).toEqual([])
  const bad = 'nats_py>=2 \\\n    # https://x.example\n'
  expect(pythonLockProblems('a.lock', bad, wanted)).toEqual([
    'a.lock: nats_py is not pinned',
    'a.lock: nats_py has no hash',
    'a.lock: has a download address',
    'a.lock: pytest of pyproject.toml is missing (npm run lock:python)',
  ])
})

test('refuses torch and the packages of its CUDA builds, whose hashes differ between machines', () => {
  const lock = pinned('torch', '2.13.0') + pinned('nvidia-cublas', '13.0') + pinned('numpy', '2.4')
  expect(pythonLockProblems('a.lock', lock, [])).toEqual([
    'a.lock: torch must not be in it',
    'a.lock: nvidia-cublas must not be in it',
  ])
  expect(pythonLockProblems('image.lock', lock, ['torch'], 'one machine')).toEqual([])
})

test('finds what pyproject.toml leaves out although others declare it', () => {
  const pyproject = `[tool.uv]\noverride-dependencies = ["tensorflow ; python_version < '3'", "b"]\n`
  expect(overridesIn(pyproject)).toEqual(["tensorflow ; python_version < '3'", 'b'])
})

test('reads only the named lists of pyproject.toml', () => {
  const pyproject = [
    'dependencies = [',
    '  "httpx==0.28.*",',
    ']',
    'dev = ["pytest==9.*", "ruff[x]==0.17.*"]',
    'torch = ["torch==2.13.0"]',
  ].join('\n')
  expect(namesIn(pyproject, ['dependencies', 'dev'])).toEqual(['httpx', 'pytest', 'ruff'])
})

test('refuses two locks of one environment that disagree on the version of a package', () => {
  const lower = pinned('numpy', '2.4.6') + pinned('only-here', '1')
  const forked = pinned('networkx', '3.6') + pinned('networkx', '3.7')
  expect(disagreements('b.lock', pinned('NumPy', '2.4.6') + forked, 'a.lock', lower)).toEqual([])
  expect(disagreements('b.lock', pinned('numpy', '2.5.0'), 'a.lock', lower)).toEqual([
    'b.lock: numpy is 2.5.0 here and 2.4.6 in a.lock (npm run lock:python)',
  ])
})
