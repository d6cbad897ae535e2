import { killGroup, type LimitedSpawn, spawnLimited } from './limited-process.ts'

/** How a process ended. `timedOut` and `aborted` mean that we killed it, and why. */
export type LimitedOutcome = {
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
  readonly timedOut: boolean
  readonly aborted: boolean
  /** The end of its standard error, for the log and never for a decision. */
  readonly complaint: string
}

const complaintCharacters = 2_000

/**
 * Runs a process under limits to its end. Kills its process group at `wallMs` and when `signal`
 * aborts. Rejects only when the process cannot be started.
 */
export function runLimited(
  options: Omit<LimitedSpawn, 'stdio'> & { wallMs: number; signal: AbortSignal },
): Promise<LimitedOutcome> {
  const { wallMs, signal } = options
  return new Promise((resolve, reject) => {
    const child = spawnLimited({ ...options, stdio: ['ignore', 'ignore', 'pipe'] })
    let complaint = ''
    let timedOut = false
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-complaintCharacters)
    })

    const timer = setTimeout(() => {
      timedOut = true
      killGroup(child)
    }, wallMs)
    const onAbort = () => killGroup(child)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort)

    const settle = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
    child.once('error', (error) => {
      settle()
      reject(error)
    })
    child.once('close', (exitCode, killedBy) => {
      settle()
      resolve({ exitCode, signal: killedBy, timedOut, aborted: signal.aborted, complaint })
    })
  })
}
