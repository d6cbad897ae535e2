import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { removeSeaweedSockets } from '@avatar/backing-services'
import {
  type ProcessName,
  processNames,
  recordOf,
  serverNames,
  serviceNames,
} from '@avatar/contracts'
import { UserError } from '../exit-codes.ts'
import { type Credentials, ensureCredentials } from './credentials.ts'
import { type DataFolder, ensureDataFolder, ensureStackMark } from './data-folder.ts'
import { findFfmpeg, installation } from './installation.ts'
import { type Claim, claimDataFolder, stopLeftovers } from './leftovers.ts'
import { isNotable, type LineWriter, readableLine } from './log-lines.ts'
import { choosePorts, type Ports, portsOf } from './ports.ts'
import { programs } from './programs.ts'
import { isHealthy, isUp, provisionStore, provisionUntilDone, until } from './readiness.ts'
import { bucket, writeServerFiles } from './server-files.ts'
import type { Environment } from './settings.ts'
import { type StackFile, writeStackFile } from './stack-file.ts'
import { superviseProcess } from './supervised-process.ts'

type StackOptions = {
  data: DataFolder
  /** The port to insist on, 0 for any free one. Without it, the last one or 8080 where that is free. */
  httpPort?: number | undefined
  env: Environment
  write: LineWriter
  /** Shows every line of the servers, not only their warnings. */
  isVerbose: boolean
}

export type Stack = {
  url: string
  /** Resolves when `/health` says that the broker and the store are there. */
  ready(signal: AbortSignal): Promise<void>
  /**
   * Stops the services together, then the servers one after the other; nothing is left behind.
   *
   * @returns the services that failed to stop in order, or had to be killed
   */
  stop(): Promise<readonly ProcessName[]>
  /** Kills everything at once. */
  kill(): void
}

/**
 * Starts the whole system on a data folder and keeps every process of it running.
 *
 * @throws UserError when another `avatar up` has the folder, the port is taken, the folder cannot be
 * written, or a program is not installed
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { data } = options
  const ffmpeg = ffmpegOrRefuse(options.env)
  await ensureDataFolder(data)
  const claim = await claimDataFolder(data)
  try {
    return await startClaimed(options, ffmpeg, claim)
  } catch (error) {
    await claim.release()
    throw error
  }
}

async function startClaimed(options: StackOptions, ffmpeg: string, claim: Claim): Promise<Stack> {
  const { data, env, write } = options
  const mark = await ensureStackMark(data)
  const leftovers = await stopLeftovers(mark)
  await rm(data.stackFile, { force: true }) // It names processes that have ended.
  if (leftovers.length > 0) write('avatar', `stopped ${leftovers.length} left-over processes`)

  const credentials = await ensureCredentials(data)
  const { ports, release } = await choosePorts(data, options.httpPort)
  await writeServerFiles(data, credentials, ports)

  const wiring = { data, credentials, ports, env, ffmpeg }
  const all = programs(wiring, mark)
  const pids: Partial<Record<ProcessName, number>> = {}
  const stackFile = serialised(() => writeStackFile(data, describeStack(credentials, ports, pids)))
  let isStopping = false
  const processes = recordOf(processNames, (name) =>
    superviseProcess(all[name], {
      onLine: (line) => {
        if (options.isVerbose || isNotable(name, line)) write(name, readableLine(line))
      },
      onStart: (pid) => {
        write('avatar', `${pids[name] === undefined ? 'started' : 'restarted'} ${name} (${pid})`)
        pids[name] = pid
        // Only once it is complete: nobody may read a missing pid.
        if (processNames.every((each) => pids[each] !== undefined)) void stackFile()
      },
      onEnd: (how) => write('avatar', `${name} ${how}${isStopping ? '' : ', starting it again'}`),
    }),
  )

  const url = `http://127.0.0.1:${ports.http}`
  return {
    url,
    async ready(signal) {
      for (const name of serverNames) await processes[name].start()
      await until(() => isUp(`http://127.0.0.1:${ports.natsMonitor}/healthz`), signal)
      if (signal.aborted) return
      await provisionUntilDone(wiring, signal, (reason) =>
        write('avatar', `nats is not set up yet, trying again: ${reason}`),
      )
      await provisionStore(describeStack(credentials, ports, pids), signal)
      if (signal.aborted) return
      for (const name of serviceNames) await processes[name].start()
      await until(() => isHealthy(url), signal)
    },
    async stop() {
      isStopping = true
      await claim.stopping()
      await Promise.all(serviceNames.map((name) => processes[name].stop()))
      for (const name of serverNames.toReversed()) await processes[name].stop()
      await removeSeaweedSockets(Object.values(ports))
      await stackFile()
      await rm(data.stackFile, { force: true })
      await claim.release()
      release()
      return serviceNames.filter((name) => processes[name].stoppedBadly())
    },
    kill: () => {
      for (const name of processNames) processes[name].kill()
    },
  }
}

/** @throws UserError when a program of the stack is not installed */
function ffmpegOrRefuse(env: StackOptions['env']): string {
  const ffmpeg = env['FFMPEG_PATH'] || findFfmpeg()
  const { natsServer, weed, python } = installation
  if (!ffmpeg || ![natsServer, weed, python].every(existsSync))
    throw new UserError('The Python environment is not set up; run: npm run setup')
  return ffmpeg
}

function describeStack(
  credentials: Credentials,
  ports: Ports,
  pids: Partial<Record<ProcessName, number>>,
): StackFile {
  return {
    url: `http://127.0.0.1:${ports.http}`,
    processes: recordOf(processNames, (name) => ({
      pid: pids[name] ?? 0,
      ports: portsOf(name, ports),
    })),
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

/** Runs the task once for each call, never two at a time, so that the last state is written last. */
function serialised(task: () => Promise<void>): () => Promise<void> {
  let last = Promise.resolve()
  return () => {
    last = last.then(task, task)
    return last
  }
}
