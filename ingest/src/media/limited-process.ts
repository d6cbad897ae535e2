import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'

/** Limits that the kernel enforces: past one of them, the process is killed or its call fails. */
type ProcessLimits = {
  readonly cpuSeconds: number
  /** Private writable memory (RLIMIT_DATA). macOS accepts the limit and does not enforce it. */
  readonly memoryBytes: number
  /** The size of the largest file it may write. */
  readonly fileBytes: number
}

export type LimitedSpawn = {
  readonly command: string
  readonly args: readonly string[]
  readonly limits: ProcessLimits
  readonly workingDir: string
  readonly env: Readonly<Record<string, string>>
  readonly stdio: StdioOptions
}

/**
 * It sets RLIMIT_DATA and not RLIMIT_AS, because V8 reserves many gigabytes of address space that it
 * never touches. The soft CPU limit comes first: its SIGXCPU differs from a kill from outside. A limit
 * that cannot be set is already tighter. The umask keeps media private.
 */
const limitAndExec = `
{ ulimit -c 0; ulimit -S -t "$1"; ulimit -H -t "$2"; ulimit -d "$3"; ulimit -f "$4"; } 2>/dev/null
umask 077
shift 4
exec "$@"`

/**
 * Starts a process under limits, as the leader of its own process group, with the given environment
 * alone. The limits come from the shell's `ulimit`, which Linux and macOS both have.
 */
export function spawnLimited(options: LimitedSpawn): ChildProcess {
  const { command, args, limits, workingDir, env, stdio } = options
  const numbers = [
    Math.ceil(limits.cpuSeconds),
    Math.ceil(limits.cpuSeconds) + 2,
    Math.ceil(limits.memoryBytes / 1_024),
    Math.ceil(limits.fileBytes / 512),
  ].map(String)
  return spawn('/bin/sh', ['-c', limitAndExec, 'limited', ...numbers, command, ...args], {
    cwd: workingDir,
    env: { ...env },
    stdio,
    detached: true,
  })
}

/** The end of what a child has written to its standard error so far. */
export function complaintOf(child: ChildProcess, mostCharacters = 2_000): () => string {
  let complaint = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-mostCharacters)
  })
  return () => complaint
}

/** Kills the process group of a child of `spawnLimited`. A child that is gone is fine. */
export function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    child.kill('SIGKILL')
  }
}
