/**
 * Makes the base images that ours are built on, where no registry of images can be reached: stand-ins
 * under the official names, from Debian's packages, from npm's and from wheels.
 *
 *   node scripts/containers/base-images.ts          pulls what can be pulled, makes the rest (root only)
 *
 * They hold what this machine's clients need to reach their package servers: the certificate of its
 * authority and its proxies. Never push one anywhere.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { docker, hasImage, ownProgram, runProgram } from './docker.ts'

const root = join(import.meta.dirname, '../..')
/** A program that `npm run setup` has installed. */
const wheel = (name: string) => async () => join(root, '.venv/bin', name)
const debian = 'debian:bookworm-slim'
/** Not the folder of Debian's `ca-certificates`, which writes its file anew when it is installed. */
const authorityFile = '/etc/client-ca.crt'
/** A registry that cannot be reached must not be waited for. */
const pullWithinMs = 20_000

/** Puts what the image needs into a folder, and names the lines that follow FROM debian. */
type StandIn = (folder: string, signal?: AbortSignal) => Promise<string[]>

const server =
  (findProgram: (signal?: AbortSignal) => Promise<string>, target: string): StandIn =>
  async (folder, signal) => {
    cpSync(await findProgram(signal), join(folder, 'program'))
    const packages = 'RUN apt-get update && apt-get install -y --no-install-recommends busybox'
    return [
      `${packages} && ln -s /bin/busybox /usr/bin/wget && ${cleanUp}`,
      `COPY program ${target}`,
      `ENTRYPOINT ["${target}"]`,
    ]
  }

/** Official images hold neither lists of packages, apt's caches of them nor logs. */
const cleanUp = 'rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*'

const standIns: Readonly<Record<string, StandIn>> = {
  'node:24-bookworm-slim': async (folder, signal) => {
    cpSync(process.execPath, join(folder, 'node'))
    await runProgram('npm', ['pack', '--silent', 'npm@11'], { cwd: folder, signal })
    const unpack = 'mkdir npm && tar -xzf npm-*.tgz -C npm --strip-components=1'
    await runProgram('bash', ['-c', unpack], { cwd: folder, signal })
    return [
      'COPY node /usr/local/bin/node',
      'COPY npm /usr/local/lib/node_modules/npm',
      'RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && chmod +x /usr/local/lib/node_modules/npm/bin/*.js',
      'CMD ["node"]',
    ]
  },
  'python:3.11-slim-bookworm': async () => [
    'RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-pip python3-venv' +
      ` && rm -rf /usr/lib/python3*/EXTERNALLY-MANAGED && ln -s python3 /usr/bin/python && ${cleanUp}`,
    'CMD ["python3"]',
  ],
  'nats:2.15.1-alpine': server(wheel('nats-server'), '/usr/local/bin/nats-server'),
  'chrislusf/seaweedfs:4.48': server(wheel('weed'), '/usr/bin/weed'),
  'caddy:2.11-alpine': server((signal) => ownProgram('caddy', signal), '/usr/bin/caddy'),
}

/**
 * The images that have neither been there nor could be pulled are made, side by side. Says what it does.
 *
 * @throws Error when one cannot be made
 */
export async function ensureBaseImages(signal?: AbortSignal): Promise<void> {
  const names = Object.keys(standIns)
  const isThere = await Promise.all(names.map(isThereOrPulled))
  const missing = names.filter((_name, at) => !isThere[at])
  if (missing.length === 0) return
  console.log(`Stand-ins are made, because these cannot be pulled: ${missing.join(', ')}`)
  if (!hasImage(debian)) await makeDebian(signal)
  await Promise.all(missing.map((name) => makeStandIn(name, signal)))
}

async function isThereOrPulled(name: string): Promise<boolean> {
  if (hasImage(name)) return true
  const pulling = docker(['pull', '--quiet', name], AbortSignal.timeout(pullWithinMs))
  return pulling.then(
    () => true,
    () => false,
  )
}

async function makeStandIn(name: string, signal?: AbortSignal) {
  await inFolder(async (folder) => {
    const lines = (await standIns[name]?.(folder, signal)) ?? []
    writeFileSync(join(folder, 'Dockerfile'), [`FROM ${debian}`, ...lines, ''].join('\n'))
    await docker(['build', '--quiet', '--network', 'host', '--tag', name, folder], signal)
  })
}

/** Debian's smallest system, with this machine's authority and clients' settings. */
async function makeDebian(signal?: AbortSignal) {
  if (process.getuid?.() !== 0) throw new Error(`${debian} can only be made by root (debootstrap).`)
  await inFolder(async (folder) => {
    const system = join(folder, 'system')
    await runProgram('debootstrap', ['--variant=minbase', 'bookworm', system], { signal })
    // Packages and their lists, as in the official image.
    for (const folder of ['var/cache/apt', 'var/lib/apt/lists'])
      rmSync(join(system, folder), { recursive: true, force: true })
    for (const folder of ['var/cache/apt/archives/partial', 'var/lib/apt/lists/partial'])
      mkdirSync(join(system, folder), { recursive: true })
    const authority = authorityOfClients()
    const variables: Record<string, string> = { ...proxies() }
    if (authority) {
      cpSync(authority, join(system, authorityFile), { dereference: true })
      for (const name of ['PIP_CERT', 'SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS'])
        variables[name] = authorityFile
      variables['npm_config_cafile'] = authorityFile
    }
    const index = settingOf('pip', ['config', 'get', 'global.index-url'])
    if (index?.startsWith('http')) variables['PIP_INDEX_URL'] = index
    const registry = settingOf('npm', ['config', 'get', 'registry'])
    if (registry) variables['npm_config_registry'] = registry
    const changes = Object.entries(variables).flatMap(([name, value]) => [
      '--change',
      `ENV ${name}=${value}`,
    ])
    const importing = 'set -o pipefail; tar -C "$0" -c . | docker import "$@"'
    await runProgram('bash', ['-c', importing, system, ...changes, '-', debian], { signal })
  })
}

/** The file of authorities that this machine's clients trust, if it names one. */
function authorityOfClients(): string | undefined {
  const named = [
    process.env['PIP_CERT'],
    process.env['NODE_EXTRA_CA_CERTS'],
    settingOf('npm', ['config', 'get', 'cafile']),
  ]
  return named.find((path) => path && existsSync(path))
}

function proxies(): Record<string, string> {
  const names = ['http_proxy', 'https_proxy', 'no_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY']
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])),
  )
}

function settingOf(program: string, args: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8', cwd: tmpdir() })
  const value = status === 0 ? stdout.trim() : ''
  return value && value !== 'null' && value !== 'undefined' ? value : undefined
}

async function inFolder(act: (folder: string) => Promise<void>) {
  const folder = mkdtempSync(join(tmpdir(), 'avatar-base-'))
  try {
    await act(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

if (import.meta.main) await ensureBaseImages()
