/**
 * Tests the images and the compose files with a real engine: `npm run test:containers`. Words are passed
 * on to vitest. Where there is no engine it says why and ends; in CI that is a failure.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { ensureBaseImages } from './base-images.ts'
import { buildImages } from './build-images.ts'
import { findCompose } from './docker.ts'
import { findEngine } from './engine.ts'

const root = join(import.meta.dirname, '../..')

// Whoever interrupts reaches vitest too; the engine is stopped when that has ended.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined)

const engine = await findEngine()
if (typeof engine === 'string') {
  console.log(`The tests of containers were left out. ${engine}`)
  process.exitCode = process.env['CI'] ? 1 : 0
} else {
  try {
    ensureBaseImages()
    buildImages(['services', 'preview'])
    const vitest = join(root, 'node_modules/vitest/vitest.mjs')
    const { status } = spawnSync(
      process.execPath,
      [vitest, 'run', '--project=containers', ...process.argv.slice(2)],
      {
        cwd: root,
        stdio: 'inherit',
        env: { ...process.env, AVATAR_COMPOSE: JSON.stringify(findCompose()) },
      },
    )
    process.exitCode = status ?? 1
  } finally {
    await engine.stop()
  }
}
