import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Clock } from '@avatar/service-kit'
import type { Program } from './programs.ts'

/** A dead process is back within a second; the pause keeps one that cannot start from spinning. */
const restartPauseMs = 300
const crashLoopPauseMs = 500
const crashLoopUptimeMs = 5_000

/** A process that is started again whenever it ends, until it is stopped. */
export type SupervisedProcess = {
  start(): void
  /** SIGTERM, then SIGKILL to the whole process group when it has not ended in time. */
  stop(graceMs: number): Promise<void>
  kill(): void
  pid(): number | undefined
}

export type Supervision = {
  clock: Clock
  onLine: (line: string, stream: 'out' | 'err') => void
  onStart: (pid: number) => void
  onEnd: (how: string) => void
}

export function superviseProcess(program: Program, supervision: Supervision): SupervisedProcess {
  const { clock, onLine, onStart, onEnd } = supervision
  const stopping = new AbortController()
  let child: ChildProcess | undefined
  let running: Promise<void> | undefined

  async function keepRunning() {
    while (!stopping.signal.aborted) {
      const startedAtMs = clock.monotonicMs()
      onEnd(await runOnce())
      const isCrashLoop = clock.monotonicMs() - startedAtMs < crashLoopUptimeMs
      await clock.wait(isCrashLoop ? crashLoopPauseMs : restartPauseMs, stopping.signal)
    }
  }

  /** Runs the program until it ends, and says how it ended. */
  async function runOnce(): Promise<string> {
    // Its own process group: Ctrl-C reaches the supervisor alone, which then stops in order.
    const started = spawn(program.command, [...program.args], {
      cwd: program.cwd,
      env: { ...program.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    child = started
    createInterface({ input: started.stdout }).on('line', (line) => onLine(line, 'out'))
    createInterface({ input: started.stderr }).on('line', (line) => onLine(line, 'err'))
    const ended = once(started, 'exit')
    if (started.pid !== undefined) onStart(started.pid)
    try {
      const [code, signal] = await ended
      return signal ? `was ended by ${signal}` : `ended with code ${code}`
    } catch (error) {
      return `could not be started: ${error instanceof Error ? error.message : String(error)}`
    } finally {
      signalGroup(started.pid, 'SIGKILL') // What its children left of the group.
    }
  }

  return {
    start() {
      running ??= keepRunning()
    },
    async stop(graceMs) {
      stopping.abort()
      const isRunning = child?.exitCode === null && child.signalCode === null
      if (isRunning) child?.kill('SIGTERM')
      const late = new AbortController()
      void clock.wait(graceMs, late.signal).then(() => {
        if (!late.signal.aborted) signalGroup(child?.pid, 'SIGKILL')
      })
      await running
      late.abort()
    },
    kill() {
      stopping.abort()
      signalGroup(child?.pid, 'SIGKILL')
    },
    pid: () => child?.pid,
  }
}

/** Signals a whole process group; one that is gone is fine. */
function signalGroup(pid: number | undefined, signal: NodeJS.Signals) {
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}
