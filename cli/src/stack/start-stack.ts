import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { removeSeaweedSockets } from '@avatar/backing-services'
import {
  type ProcessName,
  processNames,
  recordOf,
  serverNames,
  serviceNames,
  type Timings,
} from '@avatar/contracts'
import { systemClock } from '@avatar/service-kit'
import { exitCodes, UserError } from '../exit-codes.ts'
import { prepareObservers } from '../observe/start-observers.ts'
import { type Credentials, ensureCredentials } from './credentials.ts'
import { type DataFolder, ensureDataFolder, ensureStackMark } from './data-folder.ts'
import { findFfmpeg, installation } from './installation.ts'
import { type Instance, instancesOf, type Replicas } from './instances.ts'
import { type Claim, claimDataFolder, stopLeftovers } from './leftovers.ts'
import { isNotable, type LineWriter, readableLine } from './log-lines.ts'
import { choosePorts, type Ports, portsOf } from './ports.ts'
import { programOf } from './programs.ts'
import { isHealthy, isUp, provisionStore, provisionUntilDone, until } from './readiness.ts'
import { scrapeTargetsOf, writeScrapeTargets } from './scrape-targets.ts'
import { bucket, writeServerFiles } from './server-files.ts'
import { type Environment, timingsDivisorOf, timingsOf } from './settings.ts'
import { type StackFile, writeStackFile } from './stack-file.ts'
import { superviseProcess } from './supervised-process.ts'
import { watchBrokerDisk } from './watch-broker-disk.ts'

type StackOptions = {
  data: DataFolder
  /** The port to insist on, 0 for any free one. Without it, the last one or 8080 where that is free. */
  httpPort?: number | undefined
  replicas?: Replicas | undefined
  /** Whether Prometheus and Alertmanager watch the system. */
  isObserved?: boolean | undefined
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
  stop(): Promise<readonly string[]>
  /** Aborted when a service refuses its configuration: nothing but a correction helps. */
  refused: AbortSignal
  /** Which services refused their configuration, why, and what to do; undefined while none has. */
  refusal(): UserError | undefined
  /** Signals a process and its process group. One that is just being started again is left alone. */
  signal(name: ProcessName, signal: NodeJS.Signals): void
  /** Undefined while it does not run. */
  pidOf(name: ProcessName): number | undefined
  /** Kills everything at once. */
  kill(): void
}

/**
 * Starts the whole system on a data folder and keeps every process of it running.
 *
 * @throws UserError when another `avatar up` has the folder, the port is taken, the folder cannot be
 * written, a program is not installed, or the waits are not valid
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { data } = options
  const ffmpeg = ffmpegOrRefuse(options.env)
  const timings = timingsOf(options.env)
  const instances = instancesOf(options.replicas ?? {})
  await ensureDataFolder(data, instances)
  const claim = await claimDataFolder(data)
  try {
    return await startClaimed(options, { ffmpeg, timings, instances }, claim)
  } catch (error) {
    await claim.release()
    throw error
  }
}

async function startClaimed(
  options: StackOptions,
  { ffmpeg, timings, instances }: { ffmpeg: string; timings: Timings; instances: Instance[] },
  claim: Claim,
): Promise<Stack> {
  const { data, env, write } = options
  const mark = await ensureStackMark(data)
  const leftovers = await stopLeftovers(mark)
  await rm(data.stackFile, { force: true }) // It names processes that have ended.
  if (leftovers.length > 0) write('avatar', `stopped ${leftovers.length} left-over processes`)

  const credentials = await ensureCredentials(data)
  const chosen = await choosePorts(data, options.httpPort, instances)
  const { ports, portsByLabel } = chosen
  const portsOfInstance = (label: string) => portsByLabel.get(label) ?? ports
  await writeServerFiles(data, credentials, ports)
  await writeScrapeTargets(data, scrapeTargetsOf(instances, portsOfInstance))
  const observers = options.isObserved
    ? await prepareObservers({
        ...{ data, env, mark, write, isVerbose: options.isVerbose },
        divisor: timingsDivisorOf(env),
        takePort: chosen.takePort,
      })
    : undefined

  const wiring = { data, credentials, ports, env, ffmpeg }
  const wiringOf = ({ label }: Instance) => ({ ...wiring, ports: portsOfInstance(label) })
  const states = new Map<string, ProcessState>()
  const describe = () => ({
    ...describeStack(credentials, ports, portsOfInstance, states),
    observers: observers?.addresses ?? {},
  })
  const stackFile = serialised(() => writeStackFile(data, describe()))
  // Nobody may read a missing pid.
  const isComplete = () => states.size === instances.length
  const refusals: Refusal[] = []
  const refused = new AbortController()
  const stopping = new AbortController()
  let isProvisioned = false
  const provisionAll = (signal: AbortSignal) =>
    provisionUntilDone(wiring, timings, signal, (reason) =>
      write('avatar', `nats is not set up yet, trying again: ${reason}`),
    )
  const supervise = (instance: Instance) => {
    const { name, label } = instance
    return superviseProcess(programOf(instance, wiringOf(instance), mark), {
      onLine: (line) => {
        if (!options.isVerbose && !isNotable(name, line)) return
        for (const each of readableLine(line).split('\n')) write(label, each)
      },
      onStart: (pid) => {
        write('avatar', `${states.has(label) ? 'restarted' : 'started'} ${label} (${pid})`)
        states.set(label, { name, pid, trouble: undefined })
        if (isComplete()) void stackFile()
        // NATS 2.15 removes a stream without messages when it starts on a full disk.
        if (name === 'nats' && isProvisioned) void provisionAll(stopping.signal)
      },
      onEnd: (how, pauseMs) => {
        if (stopping.signal.aborted) return write('avatar', `${label} ${how}`)
        const trouble = `${how}, starting it again in ${pauseMs / 1000} s`
        write('avatar', `${label} ${trouble}`)
        states.set(label, { name, pid: states.get(label)?.pid ?? 0, trouble })
        if (isComplete()) void stackFile()
      },
      onRefusal: (explanation) => {
        write('avatar', `${label} refused its configuration`)
        refusals.push({ label, explanation })
        refused.abort()
      },
    })
  }
  const supervised = instances.map((instance) => ({ ...instance, process: supervise(instance) }))
  const allOf = (names: readonly ProcessName[]) =>
    supervised.filter(({ name }) => names.includes(name))

  const monitor = `http://127.0.0.1:${ports.natsMonitor}`
  const diskWatch = watchBrokerDisk({
    ...{ monitor, clock: systemClock, storeDir: data.natsStore },
    restart: () => {
      for (const { process } of allOf(['nats'])) process.restart()
    },
    write: (line) => write('avatar', line),
  })
  const url = `http://127.0.0.1:${ports.http}`
  return {
    url,
    refused: refused.signal,
    refusal: () => describeRefusals(refusals),
    async ready(signal) {
      for (const { process } of allOf(serverNames)) await process.start()
      await until(() => isUp(`${monitor}/healthz`), signal)
      if (signal.aborted) return
      await diskWatch.start()
      await provisionAll(signal)
      isProvisioned = true
      await provisionStore(describe(), signal)
      if (signal.aborted) return
      for (const { process } of allOf(serviceNames)) await process.start()
      await until(() => isHealthy(url), signal)
      // Not before: a system that is starting is no reason for an alert.
      if (!signal.aborted) await observers?.start()
    },
    async stop() {
      stopping.abort()
      await claim.stopping()
      await observers?.stop() // First, or they would tell that the rest is down.
      await diskWatch.stop()
      await Promise.all(allOf(serviceNames).map(({ process }) => process.stop()))
      for (const { process } of allOf(serverNames).toReversed()) await process.stop()
      await removeSeaweedSockets(Object.values(ports))
      await stackFile()
      await rm(data.stackFile, { force: true })
      await claim.release()
      chosen.release()
      const bad = allOf(serviceNames).filter(({ process }) => process.stoppedBadly())
      return bad.map(({ label }) => label)
    },
    signal(name, signal) {
      for (const { process } of allOf([name])) process.signal(signal)
    },
    pidOf: (name) => allOf([name])[0]?.process.pid(),
    kill: () => {
      stopping.abort()
      void diskWatch.stop()
      observers?.kill()
      for (const { process } of supervised) process.kill()
    },
  }
}

type ProcessState = { name: ProcessName; pid: number; trouble: string | undefined }
type Refusal = { label: string; explanation: string }

/** One text for the services that say the same. */
function describeRefusals(refusals: readonly Refusal[]): UserError | undefined {
  if (refusals.length === 0) return undefined
  const said = Map.groupBy(refusals, ({ explanation }) => explanation)
  const texts = [...said].map(([explanation, those]) => {
    const names = those.map(({ label }) => label).join(', ')
    return `${names} cannot start. ${explanation}`
  })
  const cure = 'Correct it in the environment or in .env, then run `avatar up` again.'
  return new UserError([...texts, cure].join('\n'), exitCodes.usage, true)
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
  portsOfInstance: (label: string) => Ports,
  states: ReadonlyMap<string, ProcessState>,
): Omit<StackFile, 'observers'> {
  const describe = (name: ProcessName, label: string) => ({
    pid: states.get(label)?.pid ?? 0,
    ports: portsOf(name, portsOfInstance(label)),
    trouble: states.get(label)?.trouble,
  })
  const replicas = [...states].filter(([label, { name }]) => label !== name)
  return {
    url: `http://127.0.0.1:${ports.http}`,
    processes: recordOf(processNames, (name) => describe(name, name)),
    replicas: Object.fromEntries(
      replicas.map(([label, { name }]) => [label, describe(name, label)]),
    ),
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
