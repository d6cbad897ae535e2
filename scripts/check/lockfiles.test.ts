import { expect, test } from 'vitest'
import { manifestProblems, npmLockProblems } from './lockfiles.ts'

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

test('refuses a lockfile that has another command for a package than its package.json', () => {
  const lock = JSON.stringify({ packages: { cli: { version: '1.0.0', bin: { avatar: 'old' } } } })
  expect(manifestProblems(lock, 'cli', { version: '1.0.0', bin: { avatar: 'new' } })).toEqual([
    'package-lock.json: "bin" of cli/package.json (npm install)',
  ])
})
