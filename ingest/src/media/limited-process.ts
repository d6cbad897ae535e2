import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'

/** What the kernel lets a process have. Past any of them it is killed or its call fails. */
export type ProcessLimits = {
  readonly cpuSeconds: number
  /** Of private writable memory (RLIMIT_DATA). macOS accepts the limit and does not enforce it. */
  readonly memoryBytes: number
  /** Of the largest file it may write. */
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
 * RLIMIT_DATA rather than RLIMIT_AS: V8 reserves many gigabytes of address space that it never
 * touches. The soft CPU limit comes first, as a SIGXCPU that tells it from a kill from outside.
 * A limit that cannot be set is one that is already tighter. The umask keeps media private.
 */
const limitAndExec = `
{ ulimit -c 0; ulimit -S -t "$1"; ulimit -H -t "$2"; ulimit -d "$3"; ulimit -f "$4"; } 2>/dev/null
umask 077
shift 4
exec "$@"`

/**
 * Starts a process under limits, as the leader of a process group of its own, with no more
 * environment than it is given. By `ulimit` of the shell, which is there on Linux and macOS alike.
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

/** Kills the whole process group of a child of `spawnLimited`; fine when it is gone already. */
export function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    child.kill('SIGKILL')
  }
}
