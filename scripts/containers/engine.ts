import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasEngine } from './docker.ts'

/** An engine that answers. `stop` ends it if it was started here, and does nothing otherwise. */
export type Engine = { stop(): Promise<void> }

const startsWithinMs = 60_000
const stopsWithinMs = 30_000
/** Layers that no image has used for so long are forgotten. */
const forgetAfterHours = 168

/**
 * The engine of this machine, or one of our own where there is none and we may start one (root, with the
 * package docker.io). It keeps images between runs in the user's cache folder, and nothing else.
 *
 * @returns a sentence instead where there is no engine
 */
export async function findEngine(): Promise<Engine | string> {
  if (spawnSync('docker', ['--version']).status !== 0)
    return 'There is no docker client (apt-get install docker.io).'
  if (hasEngine()) return { stop: async () => undefined }
  if (process.env['DOCKER_HOST']) return `No engine answers at ${process.env['DOCKER_HOST']}.`
  if (process.getuid?.() !== 0) return 'No engine is running, and only root can start one.'
  if (spawnSync('dockerd', ['--version']).status !== 0)
    return 'There is no engine (apt-get install docker.io).'
  return startEngine()
}

/** From now on DOCKER_HOST leads to it. */
async function startEngine(): Promise<Engine | string> {
  // Short: the path of a socket has 108 characters at most.
  const folder = mkdtempSync(join(tmpdir(), 'avatar-engine-'))
  const images = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'avatar-engine')
  mkdirSync(images, { recursive: true })
  const socket = `unix://${folder}/docker.sock`
  const logFile = join(folder, 'log')
  const log = openSync(logFile, 'w')
  const forwarding = forwardingNow()
  const child = spawn(
    'dockerd',
    [
      ...['--data-root', images, '--exec-root', join(folder, 'exec')],
      ...['-H', socket, '--pidfile', join(folder, 'pid')],
      // Nobody uses the network of its own, which would outlive the engine.
      ...['--bridge', 'none'],
    ],
    { stdio: ['ignore', log, log], detached: true },
  )
  closeSync(log)
  const exited = once(child, 'exit')
  const stop = async () => {
    if (child.exitCode === null) {
      removeContainers(socket)
      child.kill('SIGTERM')
    }
    const killing = setTimeout(() => child.kill('SIGKILL'), stopsWithinMs)
    await exited
    clearTimeout(killing)
    restoreForwarding(forwarding)
    // It leaves the name of its own network's namespace mounted.
    spawnSync('umount', [join(folder, 'exec/netns/default')])
    rmSync(folder, { recursive: true, force: true })
  }
  const deadline = Date.now() + startsWithinMs
  while (!hasEngine({ ...process.env, DOCKER_HOST: socket })) {
    if (child.exitCode !== null || Date.now() > deadline) {
      const lastLine = readFileSync(logFile, 'utf8').trim().split('\n').at(-1)
      await stop()
      return `The engine could not be started: ${lastLine}`
    }
    await sleep(300)
  }
  process.env['DOCKER_HOST'] = socket
  return { stop }
}

/** All that a run which was cut off may have left: this engine has nobody else's. */
function removeContainers(socket: string) {
  const env = { ...process.env, DOCKER_HOST: socket }
  const docker = (...args: string[]) =>
    spawnSync('docker', args, { env, encoding: 'utf8', timeout: stopsWithinMs }).stdout ?? ''
  const ids = docker('ps', '--all', '--quiet').split('\n').filter(Boolean)
  if (ids.length > 0) docker('rm', '--force', '--volumes', ...ids)
  docker('network', 'prune', '--force')
  const volumes = docker('volume', 'ls', '--quiet').split('\n').filter(Boolean)
  if (volumes.length > 0) docker('volume', 'rm', '--force', ...volumes)
  docker('image', 'prune', '--force', '--filter', `until=${forgetAfterHours}h`)
}

type Forwarding = { policy: string | undefined; switchedOn: string }
const forwardingSwitch = '/proc/sys/net/ipv4/ip_forward'

/** What the machine does with packets for others, before an engine changes it. */
function forwardingNow(): Forwarding {
  const { stdout } = spawnSync('iptables', ['-S', 'FORWARD'], { encoding: 'utf8' })
  return {
    policy: /^-P FORWARD (\w+)/m.exec(stdout ?? '')?.[1],
    switchedOn: readFileSync(forwardingSwitch, 'utf8'),
  }
}

/** An engine leaves its chains of rules to the next one. Rules of others stay. */
function restoreForwarding({ policy, switchedOn }: Forwarding) {
  const { status, stdout } = spawnSync('iptables-save', { encoding: 'utf8' })
  if (status !== 0) return
  const others = stdout.split('\n').filter((line) => !/\bDOCKER\b/.test(line))
  spawnSync('iptables-restore', { input: others.join('\n') })
  if (policy) spawnSync('iptables', ['-P', 'FORWARD', policy])
  writeFileSync(forwardingSwitch, switchedOn)
}
