import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/** One worker: a process, or a place in the line for a GPU. */
export type FleetWorker = {
  readonly id: string
  readonly version: number
  readonly image: string
  startedAtMs: number | undefined
  child: ChildProcess | undefined
  /** Polls for jobs. */
  isReady: boolean
  isStopping: boolean
  idleSinceMs: number | undefined
  lines: string[]
}

export type FleetOptions = {
  /** What each worker runs; the first word is the program. */
  command: readonly [string, ...string[]]
  cwd: string
  /** How long a worker without a job stays. */
  idleMs: number
  /** Between SIGTERM and SIGKILL. */
  graceMs: number
  /** From the order of a worker to its process: a container's start. */
  startMs: number
  onLine: (workerId: string, line: string) => void
}

export type WorkerFleet = ReturnType<typeof createWorkerFleet>

const keptLines = 400

/**
 * The workers of an endpoint as real processes, each the leader of a group of its own: as in a container
 * with an init that signals all, a signal reaches everybody in it, and SIGKILL leaves nobody.
 */
export function createWorkerFleet(
  options: FleetOptions,
  environmentOf: (workerId: string) => Record<string, string>,
  onGone: (workerId: string) => void,
) {
  const workers = new Map<string, FleetWorker>()
  const starting = new Set<NodeJS.Timeout>()
  let made = 0
  let workedMs = 0
  let most = 0

  function begin(worker: FleetWorker) {
    const [program, ...args] = options.command
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: environmentOf(worker.id),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    worker.child = child
    worker.startedAtMs = Date.now()
    most = Math.max(most, running().length)
    for (const stream of [child.stdout, child.stderr])
      if (stream)
        createInterface({ input: stream }).on('line', (line) => {
          worker.lines.push(line)
          if (worker.lines.length > keptLines) worker.lines.shift()
          options.onLine(worker.id, line)
        })
    child.once('exit', () => gone(worker))
    child.once('error', () => gone(worker))
  }

  function gone(worker: FleetWorker) {
    if (!workers.delete(worker.id)) return
    workedMs += worker.startedAtMs === undefined ? 0 : Date.now() - worker.startedAtMs
    // Whoever is left of the container goes with its first process.
    signal(worker, 'SIGKILL')
    onGone(worker.id)
  }

  function signal({ child }: FleetWorker, name: NodeJS.Signals) {
    if (child?.pid === undefined) return
    try {
      process.kill(-child.pid, name)
    } catch {} // Nobody is left.
  }

  function stop(worker: FleetWorker) {
    if (worker.isStopping) return
    worker.isStopping = true
    if (worker.child === undefined) {
      gone(worker)
      return
    }
    signal(worker, 'SIGTERM')
    setTimeout(() => signal(worker, 'SIGKILL'), options.graceMs).unref()
  }

  const running = () => [...workers.values()].filter(({ child }) => child !== undefined)

  return {
    all: () => [...workers.values()],
    find: (id: string) => workers.get(id),
    running,
    /** The most processes that ever ran at once. */
    most: () => most,
    /** Since the beginning, by those that have ended and those that run. */
    workedMs: () =>
      running().reduce((sum, { startedAtMs = 0 }) => sum + Date.now() - startedAtMs, workedMs),

    /** Starts and stops until there are so many; only workers without a job are stopped. */
    setSize(
      wanted: number,
      { version, image, isThrottled }: { version: number; image: string; isThrottled: boolean },
      isBusy: (workerId: string) => boolean,
    ) {
      const now = Date.now()
      const here = [...workers.values()].filter(({ isStopping }) => !isStopping)
      for (let count = here.length; count < wanted; count += 1) {
        made += 1
        const worker: FleetWorker = {
          ...{ id: `worker${made}`, version, image, startedAtMs: undefined, child: undefined },
          ...{ isReady: false, isStopping: false, idleSinceMs: undefined, lines: [] },
        }
        workers.set(worker.id, worker)
      }
      if (!isThrottled)
        for (const worker of workers.values()) {
          if (worker.child || worker.isStopping || worker.startedAtMs !== undefined) continue
          worker.startedAtMs = now
          const timer = setTimeout(() => {
            starting.delete(timer)
            if (workers.has(worker.id)) begin(worker)
          }, options.startMs)
          starting.add(timer)
        }
      let tooMany = here.length - wanted
      for (const worker of here) {
        if (isBusy(worker.id)) worker.idleSinceMs = undefined
        else if (worker.isReady) worker.idleSinceMs ??= now
        const isIdle =
          worker.child === undefined ||
          (worker.idleSinceMs !== undefined && now - worker.idleSinceMs >= options.idleMs)
        if (tooMany > 0 && isIdle && !isBusy(worker.id)) {
          stop(worker)
          tooMany -= 1
        }
      }
    },

    /** The machine is gone, without a word. */
    kill(worker: FleetWorker) {
      worker.isStopping = true
      signal(worker, 'SIGKILL')
    },

    stop,

    async stopAll() {
      for (const timer of starting) clearTimeout(timer)
      const ends = running().map(async (worker) => {
        const { child } = worker
        const ended = child && child.exitCode === null && child.signalCode === null
        const exit = ended ? once(child, 'exit') : undefined
        stop(worker)
        await exit
      })
      await Promise.all(ends)
    },
  }
}
