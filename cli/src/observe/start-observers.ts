import { join } from 'node:path'
import { recordOf } from '@avatar/contracts'
import { exitCodes, UserError } from '../exit-codes.ts'
import type { DataFolder } from '../stack/data-folder.ts'
import { stackMarkVariable } from '../stack/leftovers.ts'
import type { LineWriter } from '../stack/log-lines.ts'
import type { Environment } from '../stack/settings.ts'
import { type SupervisedProcess, superviseProcess } from '../stack/supervised-process.ts'
import { type ObserverFiles, writeObserverFiles } from './observer-files.ts'
import { findObservers, type ObserverName, observerNames } from './observers.ts'

type ObserverOptions = {
  data: DataFolder
  env: Environment
  divisor: number
  /** Marks them as processes of this stack. */
  mark: string
  takePort: (name: ObserverName) => Promise<number>
  write: LineWriter
  isVerbose: boolean
  /** Where set-up has unpacked the programs, if not in this checkout. */
  unpacked?: string
}

export type Observers = {
  /** Where those that run can be reached. */
  addresses: Readonly<Partial<Record<ObserverName, string>>>
  start(): Promise<void>
  stop(): Promise<void>
  kill(): void
}

/** Nothing is lost with them that they have not written. */
const graceMs = 5_000
/** The objectives look back for 30 days. */
const retention = '40d'
const resendAfterMs = 60_000

/** What Prometheus and the others are worth a person's time for, in either way of their logs. */
const warning = /\blevel=(warn|error|WARN|ERROR)\b/

/**
 * Makes the observers ready to start, or says how to install them: the system runs without them too.
 *
 * @throws UserError when OBSERVE_WEBHOOK_URL is no URL
 */
export async function prepareObservers(options: ObserverOptions): Promise<Observers> {
  const { data, env, write, mark } = options
  const webhookUrl = webhookUrlOf(env)
  const programs = findObservers(env['PATH'], options.unpacked)
  if (!programs) {
    write(
      'avatar',
      '--observe needs Prometheus and Alertmanager, and goes on without them; install: ' +
        'npm run setup -- --with monitoring',
    )
    return nobody
  }
  const ports = recordOf(observerNames, () => 0)
  for (const name of observerNames) ports[name] = await options.takePort(name)
  const settings = { ports, divisor: options.divisor, webhookUrl }
  const files = await writeObserverFiles(data, settings)
  const present = observerNames.filter((name) => programs[name])
  const running = new Map<ObserverName, SupervisedProcess>()
  for (const name of present) {
    const program = programs[name]
    if (!program) continue
    const supervised = superviseProcess(
      {
        ...program,
        args: argumentsOf(name, { ...options, files, ports }),
        env: { ...env, AVATAR_DATA_DIR: data.path, [stackMarkVariable]: mark },
        graceMs,
      },
      {
        onLine: (line) => {
          if (options.isVerbose || warning.test(line)) write(name, line)
        },
        onStart: (pid) => write('avatar', `started ${name} (${pid})`),
        onEnd: (how) => write('avatar', `${name} ${how}`),
        onRefusal: () => undefined, // Without a code for it, none refuses.
      },
    )
    running.set(name, supervised)
  }
  const all = [...running.values()]
  const urls = present.map((name) => [name, `http://127.0.0.1:${ports[name]}`] as const)
  return {
    addresses: Object.fromEntries(urls),
    async start() {
      for (const each of all) await each.start()
      for (const [name, url] of urls) write('avatar', `${name} ${url}`)
    },
    async stop() {
      await Promise.all(all.map((each) => each.stop()))
    },
    kill() {
      for (const each of all) each.kill()
    },
  }
}

const nobody: Observers = {
  addresses: {},
  start: async () => undefined,
  stop: async () => undefined,
  kill: () => undefined,
}

function argumentsOf(
  name: ObserverName,
  of: { files: ObserverFiles; ports: Readonly<Record<ObserverName, number>> } & ObserverOptions,
): string[] {
  const url = `127.0.0.1:${of.ports[name]}`
  const common = [`--config.file=${of.files[name]}`, `--web.listen-address=${url}`]
  const linked = [...common, `--web.external-url=http://${url}/`]
  const store = join(of.data.observe, name)
  switch (name) {
    case 'prometheus':
      return [
        ...linked,
        `--storage.tsdb.path=${store}`,
        `--storage.tsdb.retention.time=${retention}`,
        // An alert that Alertmanager did not take is sent again.
        `--rules.alert.resend-delay=${Math.round(resendAfterMs / of.divisor)}ms`,
      ]
    case 'alertmanager':
      // Alone it needs no cluster, which would listen on every address.
      return [...linked, `--storage.path=${store}`, '--cluster.listen-address=']
    case 'blackbox':
      return common
  }
}

function webhookUrlOf(env: Environment): string | undefined {
  const url = env['OBSERVE_WEBHOOK_URL']
  if (!url) return undefined
  if (URL.canParse(url)) return url
  throw new UserError(`OBSERVE_WEBHOOK_URL is no URL: ${url}`, exitCodes.usage)
}
