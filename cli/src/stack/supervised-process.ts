import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { background, systemClock as clock, createLog } from '@avatar/service-kit'
import { signalIfThere } from '../process-table.ts'
import { aborted } from '../stop-signals.ts'
import { readableLine } from './log-lines.ts'
import type { Program } from './programs.ts'
import { createRestartPauses } from './restart-pauses.ts'

/** Signals by which somebody ends a process; it ends itself by all others. */
const killSignals: ReadonlySet<NodeJS.Signals | null> = new Set([
  ...(['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP'] as const),
])
/** What a program wrote last explains a refusal. */
const explanationLines = 30
/** How long the last lines may take after the process has ended. */
const lastLinesMs = 1_000

type Supervision = {
  onLine: (line: string) => void
  onStart: (pid: number) => void
  /** It starts again after the pause. */
  onEnd: (how: string, pauseMs: number) => void
  /** It refused its configuration, says why, and is not started again. */
  onRefusal: (explanation: string) => void
}

export type SupervisedProcess = ReturnType<typeof superviseProcess>

/**
 * A process that is started again whenever it ends, until it is stopped or refuses its configuration.
 * `stop` sends SIGTERM, and SIGKILL to the whole process group when the process does not end in time.
 */
export function superviseProcess(program: Program, supervision: Supervision) {
  const { onLine, onStart, onEnd, onRefusal } = supervision
  const pauseAfter = createRestartPauses()
  let child: ChildProcess | undefined
  let terminate: () => void = () => undefined
  let hasStoppedBadly = false

  /** Runs the program until it ends. */
  async function run(stopping: AbortSignal) {
    const startedAtMs = clock.monotonicMs()
    // Its own process group: Ctrl-C reaches the supervisor alone, which then stops in order.
    const started = spawn(program.command, [...program.args], {
      cwd: program.cwd,
      env: { ...program.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    child = started
    const [output, errors] = [started.stdout, started.stderr].map((stream) =>
      createInterface({ input: stream }).on('line', onLine),
    )
    const explanation: string[] = []
    errors?.on('line', (line) => {
      explanation.push(readableLine(line))
      if (explanation.length > explanationLines) explanation.shift()
    })
    const allRead = Promise.all([output, errors].map((lines) => lines && once(lines, 'close')))
    let how: string
    let wasEnded = false
    let isRefusal = false
    const ended = new AbortController()
    terminate = () => void terminateInTime(started, ended.signal)
    const onStop = terminate
    stopping.addEventListener('abort', onStop, { once: true })
    try {
      const exit = once(started, 'exit')
      if (started.pid !== undefined) onStart(started.pid)
      const [code, signal] = await exit
      // A program that has not installed its handler yet is ended by SIGTERM, with nothing in hand.
      hasStoppedBadly = stopping.aborted && code !== 0 && signal !== 'SIGTERM'
      how = signal ? `was ended by ${signal}` : `ended with code ${code}`
      // A server leaves with 0 when it is told to, as by SIGTERM, and with another code of its own accord.
      wasEnded = code === 0 || killSignals.has(signal)
      isRefusal = code !== null && code === program.refusalCode
    } catch (error) {
      how = `could not be started: ${error instanceof Error ? error.message : String(error)}`
    } finally {
      stopping.removeEventListener('abort', onStop)
      ended.abort()
      signalGroup(started, 'SIGKILL') // Children that outlive it.
    }
    if (isRefusal) {
      await Promise.race([allRead, clock.wait(lastLinesMs)])
      onRefusal(explanation.join('\n'))
      return aborted(stopping)
    }
    const pauseMs = pauseAfter({ lastedMs: clock.monotonicMs() - startedAtMs, wasEnded })
    onEnd(how, pauseMs)
    await clock.wait(pauseMs, stopping)
  }

  async function terminateInTime(started: ChildProcess, ended: AbortSignal) {
    started.kill('SIGTERM')
    await clock.wait(program.graceMs, ended)
    if (!ended.aborted) signalGroup(started, 'SIGKILL')
  }

  const loop = background({
    name: 'supervisor',
    everyMs: 0, // Each pass ends with a pause of its own.
    silentForMs: Infinity,
    clock,
    log: createLog('avatar', 'silent'), // Every outcome of a run goes to `onEnd`.
    pass: run,
  })
  return {
    start: loop.start,
    stop: loop.stop,
    /** Ends the program as `stop` does; it is then started again. */
    restart: () => terminate(),
    /** Signals the program and its process group; nothing happens while it does not run. */
    signal(signal: NodeJS.Signals) {
      if (child?.exitCode === null && child.signalCode === null) signalGroup(child, signal)
    },
    /** Undefined while it does not run. */
    pid: () => (child?.exitCode === null && child.signalCode === null ? child.pid : undefined),
    /** Stops at once, by SIGKILL. */
    kill() {
      void loop.stop()
      if (child?.exitCode === null && child.signalCode === null) signalGroup(child, 'SIGKILL')
    },
    /** Whether the last stop had to kill it, or it ended with an exit code other than 0. */
    stoppedBadly: () => hasStoppedBadly,
  }
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals) {
  if (pid !== undefined) signalIfThere(-pid, signal)
}
