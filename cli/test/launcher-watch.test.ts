import { spawn } from 'node:child_process'
import { resolve } from 'node:path'
import { until } from '@avatar/service-kit/testing'
import { expect, it } from 'vitest'

const module = resolve(import.meta.dirname, '../src/launcher-watch.ts')
const watching = `
  import { setTimeout } from 'node:timers/promises'
  import { launcherGone } from '${module}'
  process.on('SIGTERM', () => {})
  const wait = (ms) => {
    console.log('watching', process.ppid) // It has seen who is above.
    return setTimeout(ms)
  }
  const clock = { nowMs: () => 0, monotonicMs: () => 0, wait }
  await launcherGone(process.env, clock)
  console.log('gone')
`

/** Like npx: a process, its shell, and under it the one that watches. */
async function launchUnderNpm() {
  const npm = `
    const { spawn } = require('node:child_process')
    const command = '"$NODE" --input-type=module-typescript -e "$SCRIPT"; true'
    spawn('sh', ['-c', command], { stdio: 'inherit' })
    setInterval(() => {}, 1e6)`
  const child = spawn(process.execPath, ['-e', npm], {
    env: { npm_execpath: '/npm', NODE: process.execPath, SCRIPT: watching },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.on('data', (chunk) => {
    text += chunk
  })
  const shell = await until(() => /watching (\d+)\n/.exec(text)?.[1], { what: 'the watch' })
  return { child, shell: Number(shell), text: () => text }
}

it.each(['npm', 'its shell'])('notices that %s has gone', async (who) => {
  const { child, shell, text } = await launchUnderNpm()
  process.kill(who === 'npm' ? (child.pid ?? 0) : shell, 'SIGKILL')
  expect(await until(() => text().endsWith('gone\n'), { what: 'notice' })).toBe(true)
  child.kill('SIGKILL')
})
