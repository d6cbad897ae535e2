import { join } from 'node:path'
import { seaweedArguments } from '@avatar/backing-services'
import { type ProcessName, services } from '@avatar/contracts'
import { refusedConfigExitCode } from '@avatar/service-kit'
import { installation, repositoryRoot } from './installation.ts'
import type { Instance } from './instances.ts'
import { stackMarkVariable } from './leftovers.ts'
import { portsOf } from './ports.ts'
import { type Environment, serviceEnvironment, type Wiring } from './settings.ts'

/** How one process of the stack is started and stopped. */
export type Program = {
  command: string
  args: readonly string[]
  env: Environment
  cwd: string
  /** The exit code by which it refuses its configuration: another start would end the same. */
  refusalCode?: number
  /** How long it gets to end after SIGTERM. */
  graceMs: number
}

/** Services get this long to finish or hand back their work. */
const serviceGraceMs = 30_000
/**
 * The bytes of uploads lie outside V8's heap and are freed by collections of its young generation. With the
 * default of 16 MB these come so rarely that V8 marks the whole heap every ten uploads instead, which
 * costs a quarter of ingest's own processor time. An orchestrator that reads 100,000 records at its start
 * holds 100 MB less for it afterwards.
 */
const nodeOptions: Partial<Record<ProcessName, readonly string[]>> = {
  ingest: ['--max-semi-space-size=8'],
  orchestrator: ['--max-semi-space-size=8'],
}
/** Killed servers lose nothing that they have acknowledged; S3 takes seconds to end on a busy machine. */
const serverGraceMs = 15_000

/** The program of one process. `mark` identifies the stack; see `stackMarkVariable`. */
export function programOf(instance: Instance, wiring: Wiring, mark: string): Program {
  const { name } = instance
  const { data, env } = wiring
  const marks = { AVATAR_DATA_DIR: data.path, [stackMarkVariable]: mark }
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
      : [
          process.execPath,
          [...(nodeOptions[name] ?? []), join(repositoryRoot, name, 'src/main.ts')],
        ]
  return {
    ...{ command, args, cwd: repositoryRoot, graceMs: serviceGraceMs },
    // Servers have other meanings for this code.
    refusalCode: refusedConfigExitCode,
    env: { ...serviceEnvironment(name, wiring, instance), ...marks },
  }
}

function weedArguments({ data, ports }: Wiring): string[] {
  return seaweedArguments({
    directory: data.s3Store,
    identitiesFile: data.s3Identities,
    ports: { ...portsOf('s3', ports), webdav: ports.s3Webdav },
  })
}
