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
    console.log('watching', process.ppid) // It has looked at its parents.
    return setTimeout(ms / 10)
  }
  const clock = { nowMs: () => 0, monotonicMs: () => 0, wait }
  await launcherGone(process.env, clock)
  console.log('gone')
`

const withShell = '"$NODE" --input-type=module-typescript -e "$SCRIPT"; true'
const withoutShell = 'exec "$NODE" --input-type=module-typescript -e "$SCRIPT"'

/** Like npx in a terminal: a process, below it npm, perhaps npm's shell, and below that the watcher. */
async function launchUnderNpm(command: string) {
  const npm = `require('node:child_process').spawn('sh', ['-c', process.env.COMMAND], { stdio: 'inherit' })
    setInterval(() => {}, 1e6)`
  const terminal = `
    const npm = require('node:child_process').spawn(process.execPath, ['-e', process.env.NPM], { stdio: 'inherit' })
    console.log('npm', npm.pid)
    setInterval(() => {}, 1e6)`
  const env = { npm_execpath: '/npm', npm_node_execpath: process.execPath, NODE: process.execPath }
  const child = spawn(process.execPath, ['-e', terminal], {
    env: { ...env, NPM: npm, COMMAND: command, SCRIPT: watching },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.on('data', (chunk) => {
    text += chunk
  })
  const above = await until(() => /watching (\d+)\n/.exec(text)?.[1], { what: 'the watch' })
  const pids = { npm: Number(/npm (\d+)\n/.exec(text)?.[1]), above: Number(above) }
  return { terminal: child, pids, text: () => text }
}

it.each([
  ['npm', withShell],
  ['above', withShell],
  ['npm', withoutShell],
] as const)('notices that %s has gone when started by %s', async (who, command) => {
  const { terminal, pids, text } = await launchUnderNpm(command)
  process.kill(pids[who], 'SIGKILL')
  expect(await until(() => text().endsWith('gone\n'), { what: 'notice' })).toBe(true)
  if (who !== 'npm') process.kill(pids.npm, 'SIGKILL')
  terminal.kill('SIGKILL')
})

it.each([withShell, withoutShell])(
  'continues when the terminal above npm has gone: %s',
  async (command) => {
    const { terminal, pids, text } = await launchUnderNpm(command)
    terminal.kill('SIGKILL')
    const looks = () => text().split('watching').length
    const seen = looks()
    await until(() => looks() > seen + 50, { what: 'it to look again' })
    expect(text()).not.toContain('gone')
    process.kill(pids.npm, 'SIGKILL')
    await until(() => text().endsWith('gone\n'), { what: 'the end' })
  },
)
