import { addAbortListener, once } from 'node:events'
import { complaintOf, killGroup, type LimitedSpawn, spawnLimited } from './limited-process.ts'

/** How a process ended. `timedOut` and `aborted` mean that we killed it, and why. */
export type LimitedOutcome = {
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
  readonly timedOut: boolean
  readonly aborted: boolean
  /** The end of its standard error, for the log and never for a decision. */
  readonly complaint: string
}

/**
 * Runs a process under limits to its end. Kills its process group at `wallMs` and when `signal`
 * aborts. Rejects only when the process cannot be started.
 */
export async function runLimited(
  options: Omit<LimitedSpawn, 'stdio'> & { wallMs: number; signal: AbortSignal },
): Promise<LimitedOutcome> {
  const { wallMs, signal } = options
  const child = spawnLimited({ ...options, stdio: ['ignore', 'ignore', 'pipe'] })
  const complaint = complaintOf(child)
  let timedOut = false
  const timer = setTimeout(() => {
    timedOut = true
    killGroup(child)
  }, wallMs)
  const listening = addAbortListener(signal, () => killGroup(child))
  try {
    const [exitCode, killedBy] = await once(child, 'close')
    const { aborted } = signal
    return { exitCode, signal: killedBy, timedOut, aborted, complaint: complaint() }
  } finally {
    clearTimeout(timer)
    listening[Symbol.dispose]()
  }
}
