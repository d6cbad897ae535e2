import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { removeSeaweedSockets } from '@avatar/backing-services'
import type { Clock } from '@avatar/service-kit'
import { type Credentials, ensureCredentials } from './credentials.ts'
import { type DataFolder, ensureDataFolder, ensureStackMark } from './data-folder.ts'
import { findFfmpeg, installation } from './installation.ts'
import { type Claim, claimDataFolder, stopLeftovers } from './leftovers.ts'
import { isNotable, type LineWriter, readableLine } from './log-lines.ts'
import { choosePorts, type Ports } from './ports.ts'
import { programs } from './programs.ts'
import { isHealthy, isUp, provisionStore, provisionUntilDone, until } from './readiness.ts'
import { bucket, writeServerFiles } from './server-files.ts'
import { type ProcessName, processNames, type StackFile, writeStackFile } from './stack-file.ts'
import { type SupervisedProcess, superviseProcess } from './supervised-process.ts'

export type StackOptions = {
  data: DataFolder
  /** The port to insist on, 0 for any free one; without it 8080 or the last one, where free. */
  httpPort?: number | undefined
  env: Readonly<Record<string, string | undefined>>
  clock: Clock
  write: LineWriter
  /** Server lines that are shown only on request are shown too. */
  isVerbose: boolean
}

export type Stack = {
  url: string
  /** Resolves when `/health` says that the broker and the store are there. */
  ready(signal: AbortSignal): Promise<void>
  /** Services first, then the servers they stand on; nothing is left behind. */
  stop(): Promise<void>
  /** Ends everything at once. */
  kill(): void
}

/** Something is missing that set-up installs. */
export class NotSetUp extends Error {
  override readonly name = 'NotSetUp'
}

const serverNames: readonly ProcessName[] = ['nats', 's3']
const serviceNames = processNames.filter((name) => !serverNames.includes(name))

/** What the services get to finish what they have in hand. */
const serviceGraceMs = 30_000
/** The servers lose nothing that they acknowledged when they are killed; S3 may take its time to end. */
const serverGraceMs = 5_000

/**
 * Starts the whole system on a data folder and keeps every process of it running.
 *
 * @throws AlreadyRunning, PortTaken, NotSetUp, DataFolderUnusable
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { data } = options
  const ffmpeg = ffmpegOrRefuse(options.env)
  await ensureDataFolder(data)
  const claim = await claimDataFolder(data, options.clock)
  try {
    return await startClaimed(options, ffmpeg, claim)
  } catch (error) {
    await claim.release()
    throw error
  }
}

async function startClaimed(options: StackOptions, ffmpeg: string, claim: Claim): Promise<Stack> {
  const { data, env, clock, write } = options
  const mark = await ensureStackMark(data)
  const leftovers = await stopLeftovers(mark, clock)
  await rm(data.stackFile, { force: true }) // It tells of processes that are no more.
  if (leftovers.length > 0) write('avatar', `stopped ${leftovers.length} left-over processes`)

  const credentials = await ensureCredentials(data)
  const { ports, release } = await choosePorts(data, options.httpPort)
  await writeServerFiles(data, credentials, ports)

  const all = programs({ data, credentials, ports, env, ffmpeg, mark })
  const pids: Partial<Record<ProcessName, number>> = {}
  const stackFile = serialised(() =>
    writeStackFile(data, describeStack(credentials, ports, all, pids)),
  )
  const processes = new Map<ProcessName, SupervisedProcess>()
  let isStopping = false
  for (const name of processNames)
    processes.set(
      name,
      superviseProcess(all[name], {
        clock,
        onLine: (line) => {
          if (options.isVerbose || isNotable(name, line)) write(name, readableLine(line))
        },
        onStart: (pid) => {
          write('avatar', `${pids[name] === undefined ? 'started' : 'restarted'} ${name} (${pid})`)
          pids[name] = pid
          // Only once it is whole: nobody may read a pid that is none.
          if (processNames.every((each) => pids[each] !== undefined)) void stackFile()
        },
        onEnd: (how) => write('avatar', `${name} ${how}${isStopping ? '' : ', starting it again'}`),
      }),
    )
  const some = (names: readonly ProcessName[]) => names.flatMap((name) => processes.get(name) ?? [])

  const url = `http://127.0.0.1:${ports.http}`
  return {
    url,
    async ready(signal) {
      for (const server of some(serverNames)) server.start()
      await until(() => isUp(`http://127.0.0.1:${ports.natsMonitor}/healthz`), clock, signal)
      if (signal.aborted) return
      await provisionUntilDone({
        credentials,
        ports,
        env,
        clock,
        signal,
        onTrouble: (reason) => write('avatar', `nats is not set up yet, trying again: ${reason}`),
      })
      await provisionStore(describeStack(credentials, ports, all, pids), clock, signal)
      if (signal.aborted) return
      for (const service of some(serviceNames)) service.start()
      await until(() => isHealthy(url), clock, signal)
    },
    async stop() {
      isStopping = true
      await claim.stopping()
      await Promise.all(some(serviceNames).map((service) => service.stop(serviceGraceMs)))
      for (const name of ['s3', 'nats'] as const)
        await Promise.all(some([name]).map((server) => server.stop(serverGraceMs)))
      await removeSeaweedSockets(Object.values(ports))
      await stackFile()
      await rm(data.stackFile, { force: true })
      await claim.release()
      release()
    },
    kill: () => {
      for (const process of processes.values()) process.kill()
    },
  }
}

/** @throws NotSetUp when a program that a stack consists of is not there */
function ffmpegOrRefuse(env: StackOptions['env']): string {
  const ffmpeg = env['FFMPEG_PATH'] || findFfmpeg()
  const { natsServer, weed, python } = installation
  if (!ffmpeg || ![natsServer, weed, python].every(existsSync))
    throw new NotSetUp('The Python environment is not set up; run: npm run setup')
  return ffmpeg
}

function describeStack(
  credentials: Credentials,
  ports: Ports,
  all: ReturnType<typeof programs>,
  pids: Partial<Record<ProcessName, number>>,
): StackFile {
  const told = (name: ProcessName) => ({ pid: pids[name] ?? 0, ports: { ...all[name].ports } })
  return {
    url: `http://127.0.0.1:${ports.http}`,
    processes: {
      nats: told('nats'),
      s3: told('s3'),
      ingest: told('ingest'),
      orchestrator: told('orchestrator'),
      janitor: told('janitor'),
      sidecar: told('sidecar'),
    },
    s3: {
      endpoint: `http://127.0.0.1:${ports.s3}`,
      bucket,
      access_key_id: credentials.s3.accessKeyId,
      secret_access_key: credentials.s3.secretAccessKey,
    },
    nats: {
      url: `nats://operator:${credentials.nats.operator}@127.0.0.1:${ports.nats}`,
      monitor: `http://127.0.0.1:${ports.natsMonitor}`,
    },
  }
}

/** Runs a task again for each call, never two at a time: the last writer must be the last told. */
function serialised(task: () => Promise<void>): () => Promise<void> {
  let last = Promise.resolve()
  return () => {
    last = last.then(task, task)
    return last
  }
}
