import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { background, systemClock as clock, createLog } from '@avatar/service-kit'
import { signalIfThere } from '../process-table.ts'
import type { Program } from './programs.ts'

/** A dead process is back within a second; longer pauses keep one that cannot start from spinning. */
const restartPauseMs = 300
const crashLoopPauseMs = 500
const crashLoopUptimeMs = 5_000

type Supervision = {
  onLine: (line: string) => void
  onStart: (pid: number) => void
  onEnd: (how: string) => void
}

export type SupervisedProcess = ReturnType<typeof superviseProcess>

/**
 * A process that is started again whenever it ends, until it is stopped. `stop` sends SIGTERM, and
 * SIGKILL to the whole process group when the process does not end in time.
 */
export function superviseProcess(program: Program, supervision: Supervision) {
  const { onLine, onStart, onEnd } = supervision
  let child: ChildProcess | undefined
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
    for (const stream of [started.stdout, started.stderr])
      createInterface({ input: stream }).on('line', onLine)
    const ended = new AbortController()
    const terminate = () => void terminateInTime(started, ended.signal)
    stopping.addEventListener('abort', terminate, { once: true })
    try {
      const exit = once(started, 'exit')
      if (started.pid !== undefined) onStart(started.pid)
      const [code, signal] = await exit
      // A program that has not installed its handler yet is ended by SIGTERM, with nothing in hand.
      hasStoppedBadly = stopping.aborted && code !== 0 && signal !== 'SIGTERM'
      onEnd(signal ? `was ended by ${signal}` : `ended with code ${code}`)
    } catch (error) {
      onEnd(`could not be started: ${error instanceof Error ? error.message : String(error)}`)
    } finally {
      stopping.removeEventListener('abort', terminate)
      ended.abort()
      signalGroup(started, 'SIGKILL') // Children that outlive it.
    }
    const isCrashLoop = clock.monotonicMs() - startedAtMs < crashLoopUptimeMs
    if (isCrashLoop) await clock.wait(crashLoopPauseMs - restartPauseMs, stopping)
  }

  async function terminateInTime(started: ChildProcess, ended: AbortSignal) {
    started.kill('SIGTERM')
    await clock.wait(program.graceMs, ended)
    if (!ended.aborted) signalGroup(started, 'SIGKILL')
  }

  const loop = background({
    name: 'supervisor',
    everyMs: restartPauseMs,
    silentForMs: Infinity,
    clock,
    log: createLog('avatar', 'silent'), // Every outcome of a run goes to `onEnd`.
    pass: run,
  })
  return {
    start: loop.start,
    stop: loop.stop,
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
