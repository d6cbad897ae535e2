import { type ServiceName, scaledTimings, specOf, type Timings } from '@avatar/contracts'
import { runtimeConfig } from '@avatar/service-kit'
import { z } from 'zod'
import { exitCodes, UserError } from '../exit-codes.ts'
import type { Credentials } from './credentials.ts'
import type { DataFolder } from './data-folder.ts'
import { compileCache } from './installation.ts'
import type { Instance } from './instances.ts'
import { type Ports, portsOf } from './ports.ts'
import { bucket } from './server-files.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** What the settings of a stack are made of. */
export type Wiring = {
  data: DataFolder
  credentials: Credentials
  /** As the process that is set up sees them. */
  ports: Ports
  /** The caller's own environment, passed on to every process. */
  env: Environment
  ffmpeg: string
}

const timingsConfig = z.object({ TIMINGS_DIVISOR: runtimeConfig.TIMINGS_DIVISOR })

type Settings = Readonly<Record<string, (wiring: Wiring, instance: Instance) => string>>

/** Variables that are only defaults: the caller's own value wins. */
const ffmpegSettings: Settings = { FFMPEG_PATH: ({ ffmpeg }) => ffmpeg }
const sidecarDefaults: Settings = {
  ENGINE: () => 'preview',
  WORKER_ID: (_, { number }) => (number === 1 ? 'local' : `local-${number}`),
}

/** The workers of this machine reach the store as its services do. */
const orchestratorDefaults: Settings = { LOCAL_POOLS: ({ env }) => env['WORKER_POOL'] || 'local' }

const storeSettings: Settings = {
  S3_ENDPOINT: ({ ports }) => `http://127.0.0.1:${ports.s3}`,
  R2_ACCESS_KEY_ID: ({ credentials }) => credentials.s3.accessKeyId,
  R2_SECRET_ACCESS_KEY: ({ credentials }) => credentials.s3.secretAccessKey,
  R2_BUCKET_NAME: () => bucket,
}

const httpSettings: Settings = {
  HTTP_HOST: () => '127.0.0.1',
  HTTP_PORT: ({ ports }) => String(ports.http),
}

/** What `avatar up` sets for a service: `always`, and `unlessGiven` by the caller. */
function settingsOf(name: ServiceName): { always: Settings; unlessGiven: Settings } {
  const { kind, ports, needs = [] } = specOf(name)
  return {
    always: {
      NATS_URL: (wiring) => `nats://127.0.0.1:${wiring.ports.nats}`,
      NATS_USER: () => name,
      NATS_PASSWORD: ({ credentials }) => credentials.nats[name],
      ...(needs.includes('store') ? storeSettings : {}),
      ...(needs.includes('spool')
        ? { SPOOL_DIR: ({ data }: Wiring, { label }: Instance) => data.spool(label) }
        : {}),
      ...('http' in ports ? httpSettings : {}),
      ...('metrics' in ports ? { METRICS_PORT: metricsPortOf(name) } : {}),
      ...(kind === 'python'
        ? { PYTHONUNBUFFERED: () => '1' }
        : { NODE_COMPILE_CACHE: () => compileCache }),
    },
    unlessGiven: {
      ...(needs.includes('ffmpeg') ? ffmpegSettings : {}),
      ...(kind === 'python' ? sidecarDefaults : {}),
      ...(name === 'orchestrator' ? orchestratorDefaults : {}),
    },
  }
}

/** The waits that the environment asks for. @throws UserError when it asks for none that exist */
export function timingsOf(env: Environment): Timings {
  return scaledTimings(timingsDivisorOf(env))
}

/** How many times shorter than usual the waits are. @throws UserError when it is no such number */
export function timingsDivisorOf(env: Environment): number {
  const parsed = timingsConfig.safeParse({ TIMINGS_DIVISOR: env['TIMINGS_DIVISOR'] || undefined })
  if (!parsed.success) throw new UserError(z.prettifyError(parsed.error), exitCodes.usage)
  return parsed.data.TIMINGS_DIVISOR
}

/** The names of the variables that `avatar up` sets for a service, for documentation. */
export function variablesSetByUp(name: ServiceName) {
  const { always, unlessGiven } = settingsOf(name)
  return { always: Object.keys(always), unlessGiven: Object.keys(unlessGiven) }
}

/**
 * The environment of a service: the caller's, then what the stack sets, then the variables for this
 * service alone. `JANITOR_LOG_LEVEL=debug` is `LOG_LEVEL=debug` for the janitor, and wins: so one
 * service can be watched closely, or sent through a proxy.
 */
export function serviceEnvironment(
  name: ServiceName,
  wiring: Wiring,
  instance: Instance = { name, number: 1, label: name },
): Environment {
  const { always, unlessGiven } = settingsOf(name)
  const env: Record<string, string | undefined> = { ...wiring.env }
  const set = (variable: string, value: string | undefined) => {
    env[variable] = value
    // A service refuses a secret that is given both ways, as NAME and as NAME_FILE.
    delete env[variable.endsWith('_FILE') ? variable.slice(0, -'_FILE'.length) : `${variable}_FILE`]
  }
  for (const [variable, value] of Object.entries(unlessGiven))
    if (!env[variable]) set(variable, value(wiring, instance))
  for (const [variable, value] of Object.entries(always)) set(variable, value(wiring, instance))
  const prefix = `${name.toUpperCase()}_`
  for (const [variable, value] of Object.entries(wiring.env))
    if (variable.startsWith(prefix)) set(variable.slice(prefix.length), value)
  return env
}

function metricsPortOf(name: ServiceName) {
  return ({ ports }: Wiring) => String({ metrics: 0, ...portsOf(name, ports) }.metrics)
}
