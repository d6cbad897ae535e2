import { join } from 'node:path'
import { seaweedArguments } from '@avatar/backing-services'
import { type ProcessName, processNames, recordOf, services } from '@avatar/contracts'
import { installation, repositoryRoot } from './installation.ts'
import { stackMarkVariable } from './leftovers.ts'
import { portsOf } from './ports.ts'
import { type Environment, serviceEnvironment, type Wiring } from './settings.ts'

/** How one process of the stack is started and stopped. */
export type Program = {
  command: string
  args: readonly string[]
  env: Environment
  cwd: string
  /** How long it gets to end after SIGTERM. */
  graceMs: number
}

/** Services get this long to finish or hand back their work. */
const serviceGraceMs = 30_000
/** Killed servers lose nothing that they have acknowledged, and S3 can be slow to end. */
const serverGraceMs = 5_000

/** Every program of the stack. `mark` identifies the stack; see `stackMarkVariable`. */
export function programs(wiring: Wiring, mark: string): Record<ProcessName, Program> {
  const marks = { AVATAR_DATA_DIR: wiring.data.path, [stackMarkVariable]: mark }
  return recordOf(processNames, (name) => programOf(name, wiring, marks))
}

function programOf(name: ProcessName, wiring: Wiring, marks: Environment): Program {
  const { data, env } = wiring
  if (name === 'nats' || name === 's3') {
    const [command, args] =
      name === 'nats'
        ? [installation.natsServer, ['-c', data.natsConf]]
        : [installation.weed, weedArguments(wiring)]
    return { command, args, env: { ...env, ...marks }, cwd: data.path, graceMs: serverGraceMs }
  }
  const [command, args] =
    services[name].kind === 'python'
      ? [installation.python, ['-m', 'inference_sidecar']]
      : [process.execPath, [join(repositoryRoot, name, 'src/main.ts')]]
  return {
    ...{ command, args, cwd: repositoryRoot, graceMs: serviceGraceMs },
    env: { ...serviceEnvironment(name, wiring), ...marks },
  }
}

function weedArguments({ data, ports }: Wiring): string[] {
  return seaweedArguments({
    directory: data.s3Store,
    identitiesFile: data.s3Identities,
    ports: { ...portsOf('s3', ports), webdav: ports.s3Webdav },
  })
}
