import { seaweedArguments } from '@avatar/backing-services'
import type { Credentials } from './credentials.ts'
import type { DataFolder } from './data-folder.ts'
import { compileCache, installation, repositoryRoot } from './installation.ts'
import { stackMarkVariable } from './leftovers.ts'
import type { Ports } from './ports.ts'
import { bucket } from './server-files.ts'
import type { ProcessName } from './stack-file.ts'

/** Tells a process, and whoever looks at it, which data folder its stack has. */
export const dataFolderVariable = 'AVATAR_DATA_DIR'

/** How one process of the stack is started. */
export type Program = {
  name: ProcessName
  command: string
  args: readonly string[]
  env: Readonly<Record<string, string>>
  cwd: string
  /** What `stack.json` tells of it. */
  ports: Readonly<Record<string, number>>
}

type Wiring = {
  data: DataFolder
  credentials: Credentials
  ports: Ports
  /** The caller's own environment, passed on to every process. */
  env: Readonly<Record<string, string | undefined>>
  ffmpeg: string
  /** Which stack a process belongs to; see `stackMarkVariable`. */
  mark: string
}

/** Every program of the stack, in the order in which they start. */
export function programs(wiring: Wiring): Record<ProcessName, Program> {
  const { ports, env, data, ffmpeg } = wiring
  return {
    nats: server(wiring, 'nats', installation.natsServer, ['-c', data.natsConf], {
      client: ports.nats,
      monitor: ports.natsMonitor,
    }),
    s3: server(wiring, 's3', installation.weed, weedArgs(wiring), {
      s3: ports.s3,
      master: ports.s3Master,
      filer: ports.s3Filer,
      volume: ports.s3Volume,
      admin: ports.s3Admin,
    }),
    ingest: nodeService(
      wiring,
      'ingest',
      { http: ports.http, metrics: ports.ingestMetrics },
      {
        HTTP_HOST: '127.0.0.1',
        HTTP_PORT: String(ports.http),
        SPOOL_DIR: data.spool('ingest'),
      },
    ),
    orchestrator: nodeService(wiring, 'orchestrator', { metrics: ports.orchestratorMetrics }),
    janitor: nodeService(wiring, 'janitor', { metrics: ports.janitorMetrics }),
    sidecar: {
      name: 'sidecar',
      command: installation.python,
      args: ['-m', 'inference_sidecar'],
      cwd: repositoryRoot,
      ports: {},
      env: {
        // No keys of the store: it gets a URL for each object it may read or write.
        ...brokerEnv(wiring, 'sidecar'),
        PYTHONUNBUFFERED: '1',
        ENGINE: env['ENGINE'] || 'preview',
        WORKER_ID: env['WORKER_ID'] || 'local',
        SPOOL_DIR: data.spool('sidecar'),
        FFMPEG_PATH: ffmpeg,
        ...ownVariables(env, 'sidecar'),
      },
    },
  }
}

function server(
  wiring: Wiring,
  name: ProcessName,
  command: string,
  args: readonly string[],
  ports: Record<string, number>,
): Program {
  return {
    name,
    command,
    args,
    env: { ...present(wiring.env), ...marksOf(wiring) },
    cwd: wiring.data.path,
    ports,
  }
}

function nodeService(
  wiring: Wiring,
  name: 'ingest' | 'orchestrator' | 'janitor',
  ports: { metrics: number; http?: number },
  env: Readonly<Record<string, string>> = {},
): Program {
  return {
    name,
    command: process.execPath,
    args: [installation.serviceMain(name)],
    cwd: repositoryRoot,
    ports,
    env: {
      NODE_COMPILE_CACHE: compileCache,
      ...brokerEnv(wiring, name),
      ...storeEnv(wiring),
      METRICS_PORT: String(ports.metrics),
      FFMPEG_PATH: wiring.ffmpeg,
      ...env,
      ...ownVariables(wiring.env, name),
    },
  }
}

function marksOf({ data, mark }: Wiring): Record<string, string> {
  return { [dataFolderVariable]: data.path, [stackMarkVariable]: mark }
}

function brokerEnv(
  wiring: Wiring,
  user: 'ingest' | 'orchestrator' | 'janitor' | 'sidecar',
): Record<string, string> {
  const { credentials, ports, env } = wiring
  return {
    ...present(env),
    ...marksOf(wiring),
    NATS_URL: `nats://127.0.0.1:${ports.nats}`,
    NATS_USER: user,
    NATS_PASSWORD: credentials.nats[user],
  }
}

function storeEnv({ credentials, ports }: Wiring): Record<string, string> {
  return {
    S3_ENDPOINT: `http://127.0.0.1:${ports.s3}`,
    R2_ACCESS_KEY_ID: credentials.s3.accessKeyId,
    R2_SECRET_ACCESS_KEY: credentials.s3.secretAccessKey,
    R2_BUCKET_NAME: bucket,
  }
}

/**
 * `JANITOR_LOG_LEVEL=debug` is `LOG_LEVEL=debug` for the janitor alone, and wins over what the stack
 * would set: so one service can be watched closely, or sent through a proxy.
 */
function ownVariables(
  env: Readonly<Record<string, string | undefined>>,
  name: ProcessName,
): Record<string, string> {
  const prefix = `${name.toUpperCase()}_`
  const own = Object.entries(present(env)).filter(([variable]) => variable.startsWith(prefix))
  return Object.fromEntries(own.map(([variable, value]) => [variable.slice(prefix.length), value]))
}

function weedArgs({ data, ports }: Wiring): string[] {
  return seaweedArguments({
    directory: data.s3Store,
    identitiesFile: data.s3Identities,
    ports: {
      s3: ports.s3,
      master: ports.s3Master,
      filer: ports.s3Filer,
      volume: ports.s3Volume,
      admin: ports.s3Admin,
      webdav: ports.s3Webdav,
    },
  })
}

function present(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const entries: [string, string][] = []
  for (const [name, value] of Object.entries(env))
    if (value !== undefined) entries.push([name, value])
  return Object.fromEntries(entries)
}
