/**
 * Makes the base images that ours are built on, where no registry of images can be reached: stand-ins
 * under the official names, from Debian's packages, from npm's and from the wheels that `npm run setup`
 * has installed.
 *
 *   node scripts/containers/base-images.ts          pulls what can be pulled, makes the rest (root only)
 *
 * They hold what this machine's clients need to reach their package servers: the certificate of its
 * authority and its proxies. Never push one anywhere.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { docker, hasImage } from './docker.ts'

const root = join(import.meta.dirname, '../..')
const wheel = (name: string) => join(root, '.venv/bin', name)
const debian = 'debian:bookworm-slim'
/** Not the folder of Debian's `ca-certificates`, which writes its file anew when it is installed. */
const authorityFile = '/etc/client-ca.crt'
/** A registry that cannot be reached must not be waited for. */
const pullWithinMs = 20_000

/** Puts what the image needs into a folder, and names the lines that follow FROM debian. */
type StandIn = (folder: string) => string[]

const server =
  (program: string, target: string): StandIn =>
  (folder) => {
    cpSync(wheel(program), join(folder, 'program'))
    const packages = 'RUN apt-get update && apt-get install -y --no-install-recommends busybox'
    return [
      `${packages} && ln -s /bin/busybox /usr/bin/wget && rm -rf /var/lib/apt/lists/*`,
      `COPY program ${target}`,
      `ENTRYPOINT ["${target}"]`,
    ]
  }

const standIns: Readonly<Record<string, StandIn>> = {
  'node:24-bookworm-slim': (folder) => {
    cpSync(process.execPath, join(folder, 'node'))
    execFileSync('npm', ['pack', '--silent', 'npm@11'], { cwd: folder })
    execFileSync('bash', ['-c', 'mkdir npm && tar -xzf npm-*.tgz -C npm --strip-components=1'], {
      cwd: folder,
    })
    return [
      'COPY node /usr/local/bin/node',
      'COPY npm /usr/local/lib/node_modules/npm',
      'RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && chmod +x /usr/local/lib/node_modules/npm/bin/*.js',
      'CMD ["node"]',
    ]
  },
  'python:3.11-slim-bookworm': () => [
    'RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-pip python3-venv' +
      ' && rm -rf /var/lib/apt/lists/* /usr/lib/python3*/EXTERNALLY-MANAGED && ln -s python3 /usr/bin/python',
    'CMD ["python3"]',
  ],
  'nats:2.15.1-alpine': server('nats-server', '/usr/local/bin/nats-server'),
  'chrislusf/seaweedfs:4.48': server('weed', '/usr/bin/weed'),
}

/** The images that have neither been there nor could be pulled are made. Says what it does. */
export function ensureBaseImages(): void {
  for (const [name, standIn] of Object.entries(standIns)) {
    if (hasImage(name)) continue
    const { status } = spawnSync('docker', ['pull', '--quiet', name], { timeout: pullWithinMs })
    if (status === 0) continue
    if (!hasImage(debian)) makeDebian()
    console.log(`${name} cannot be pulled: a stand-in is made.`)
    inFolder((folder) => {
      const lines = standIn(folder)
      writeFileSync(join(folder, 'Dockerfile'), [`FROM ${debian}`, ...lines, ''].join('\n'))
      docker('build', '--quiet', '--network', 'host', '--tag', name, folder)
    })
  }
}

/** Debian's smallest system, with this machine's authority and clients' settings. */
function makeDebian() {
  if (process.getuid?.() !== 0) throw new Error(`${debian} can only be made by root (debootstrap).`)
  console.log(`${debian} cannot be pulled: a stand-in is made by debootstrap.`)
  inFolder((folder) => {
    const system = join(folder, 'system')
    execFileSync('debootstrap', ['--variant=minbase', 'bookworm', system], { stdio: 'ignore' })
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
    execFileSync(
      'bash',
      ['-c', 'tar -C "$0" -c . | docker import "$@"', system, ...changes, '-', debian],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    )
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

function inFolder(act: (folder: string) => void) {
  const folder = mkdtempSync(join(tmpdir(), 'avatar-base-'))
  try {
    act(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

if (import.meta.main) ensureBaseImages()
