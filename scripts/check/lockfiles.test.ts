import { expect, test } from 'vitest'
import { manifestProblems, npmLockProblems, pythonLockProblems } from './lockfiles.ts'

test('refuses an npm package with a download address or without a hash', () => {
  const lock = JSON.stringify({
    packages: {
      '': {},
      'node_modules/good': { integrity: 'sha512-x' },
      'node_modules/@avatar/cli': { resolved: 'cli', link: true },
      'node_modules/bad': { resolved: 'https://registry.example/bad.tgz' },
    },
  })
  expect(npmLockProblems(lock)).toEqual([
    'package-lock.json: node_modules/bad has a download address',
    'package-lock.json: node_modules/bad has no hash',
  ])
})

test('refuses a lockfile that still has the old command of a package', () => {
  const lock = JSON.stringify({ packages: { cli: { version: '1.0.0', bin: { avatar: 'old' } } } })
  expect(manifestProblems(lock, 'cli', { version: '1.0.0', bin: { avatar: 'new' } })).toEqual([
    'package-lock.json: "bin" of cli/package.json (npm install)',
  ])
})

test('wants every Python package that is asked for pinned, with a hash and no address', () => {
  const pyproject =
    'dependencies = [\n  "nats-py==2.16.*",\n]\ndev = ["pytest==9.*"]\ngpu = ["torch==2.13.0"]\n'
  const good = 'nats-py==2.16.0 \\\n    --hash=sha256:aa\npytest==9.2.0 \\\n    --hash=sha256:bb\n'
  expect(pythonLockProblems(good, pyproject)).toEqual([])
  expect(pythonLockProblems('nats_py>=2 \\\n    # https://x.example\n', pyproject)).toEqual([
    'requirements.lock: nats_py is not pinned',
    'requirements.lock: nats_py has no hash',
    'requirements.lock: has a download address',
    'requirements.lock: pytest of pyproject.toml is missing (npm run lock:python)',
  ])
})
