import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { delimiter, join } from 'node:path'
import { SetupError } from './failures.mjs'
import { readIfThere } from './process-identity.mjs'
import { askProgram } from './run-program.mjs'

/**
 * The suite that the programs come from, also on an older Debian: amtool before 0.28 does not know the
 * files that hold receivers' secrets. They need nothing but libc.
 */
const suite = 'trixie'

const packages = [
  'prometheus',
  'promtool',
  'prometheus-alertmanager',
  'prometheus-blackbox-exporter',
]

/** What is called in one way by Debian and in another by everybody else. */
const debianNames = {
  alertmanager: 'prometheus-alertmanager',
  blackbox_exporter: 'prometheus-blackbox-exporter',
}

/** Every program by its own project's name. */
export const monitoringPrograms = [
  ...['prometheus', 'promtool', 'alertmanager', 'amtool', 'blackbox_exporter'],
]

/**
 * Prometheus, Alertmanager, the blackbox exporter and their tools, in `.tools` inside the checkout. They
 * are unpacked and not installed: nothing outside the folder changes and no service is started.
 * Where all of them are on PATH, those are used and nothing is fetched.
 *
 * @param {string} root
 * @returns {import('../setup.mjs').Part}
 */
export function monitoringTools(root) {
  const home = join(root, '.tools')
  const stamp = join(home, 'installed')
  const wanted = `${suite} ${packages.join(' ')}\n`
  return {
    name: 'Prometheus, Alertmanager and their tools',
    cost: 'a quarter of a minute and 300 MB',
    needsBytes: () => (existsSync(stamp) ? 0 : 400_000_000),
    isInPlace: () => readIfThere(stamp) === wanted || monitoringPrograms.every(isOnPath),

    async install(run) {
      const mirror = debianMirror(root)
      rmSync(home, { recursive: true, force: true })
      const work = join(home, 'download')
      const apt = ['--config-file', writeAptConfig(work, mirror), '-qq']
      await run('apt-get', [...apt, 'update'])
      // It writes to the folder in which it runs.
      await run('env', [`--chdir=${work}`, 'apt-get', ...apt, 'download', ...packages])
      const archives = readdirSync(work).filter((name) => name.endsWith('.deb'))
      for (const name of archives)
        await run('dpkg-deb', ['-x', join(work, name), join(work, 'root')])
      const bin = join(work, 'root/usr/bin')
      for (const name of readdirSync(bin)) findSharedFilesBesideUs(join(bin, name))
      for (const [name, theirs] of Object.entries(debianNames)) symlinkSync(theirs, join(bin, name))
      renameSync(join(work, 'root/usr'), join(home, 'usr'))
      rmSync(work, { recursive: true })
      for (const name of monitoringPrograms) await run(join(home, 'usr/bin', name), ['--version'])
      writeFileSync(stamp, wanted)
    },
  }
}

/**
 * The mirror of Debian that this machine itself uses, so that its proxies and rights apply.
 *
 * @param {string} root
 */
function debianMirror(root) {
  const format = '$(REPO_URI) $(COMPONENT)'
  const said = askProgram(root, 'apt-get', [
    'indextargets',
    '--format',
    format,
    'Created-By: Packages',
  ])
  const isUnpackable = askProgram(root, 'dpkg-deb', ['--version']) !== undefined
  // Other vendors offer packages for Debian under such a path too, but not in this component.
  const mirror = (said ?? '').split('\n').find((line) => /\/debian\/? main$/.test(line))
  if (mirror && isUnpackable) return mirror.slice(0, -' main'.length)
  throw new SetupError(
    "This machine's packages are not Debian's, so set-up cannot fetch the monitoring programs",
    `Put ${monitoringPrograms.join(', ')} on PATH (their projects publish them for every system); they are used as they are.`,
  )
}

/**
 * Configuration of an apt with a state of its own: it needs no root, and the system's lists stay as they are.
 *
 * @param {string} work a folder to make
 * @param {string} mirror
 */
function writeAptConfig(work, mirror) {
  for (const folder of ['lists/partial', 'cache/archives/partial'])
    mkdirSync(join(work, folder), { recursive: true })
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg'
  const signedBy = existsSync(keyring) ? `[signed-by=${keyring}] ` : ''
  writeFileSync(join(work, 'sources.list'), `deb ${signedBy}${mirror} ${suite} main\n`)
  const config = join(work, 'apt.conf')
  const lines = [
    `Dir::Etc::SourceList "${join(work, 'sources.list')}";`,
    'Dir::Etc::SourceParts "/dev/null";',
    `Dir::State::Lists "${join(work, 'lists')}";`,
    `Dir::Cache "${join(work, 'cache')}";`,
    'Acquire::Languages "none";',
    'APT::Sandbox::User "root";', // Another user could not write to this folder.
    '#clear APT::Update::Post-Invoke;',
    '#clear APT::Update::Post-Invoke-Success;',
  ]
  writeFileSync(config, `${lines.join('\n')}\n`)
  return config
}

/**
 * Debian's builds read their pages and templates from /usr/share/prometheus, and Alertmanager does not
 * start without them. The path has a place of fixed length in the program, and gets one of the same
 * length that begins in the folder in which the program is started: `.tools/usr`.
 *
 * @param {string} path of a program
 */
function findSharedFilesBesideUs(path) {
  const program = readFileSync(path)
  const fixed = '/usr/share/prometheus'
  const beside = fixed.replace('/usr', '.'.padEnd('/usr'.length, '/'))
  for (let at = program.indexOf(fixed); at >= 0; at = program.indexOf(fixed, at))
    at += program.write(beside, at)
  writeFileSync(path, program)
}

function isOnPath(/** @type {string} */ name) {
  const names = [name, /** @type {Record<string, string>} */ (debianNames)[name] ?? name]
  return (process.env.PATH ?? '')
    .split(delimiter)
    .some((folder) => names.some((one) => isExecutable(join(folder, one))))
}

function isExecutable(/** @type {string} */ path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
