import type { ChildProcess } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { logLineMaxBytes, logLineSchema } from '@avatar/contracts'
import type { CheckBounds } from './check-bounds.ts'
import {
  type Answer,
  type CheckerReply,
  type CheckerRequest,
  checkerReplySchema,
} from './checker-protocol.ts'
import { complaintOf, killGroup, spawnLimited } from './limited-process.ts'

/** A warm child process that checks media, one request at a time. */
export type CheckerProcess = Omit<ReturnType<typeof converse>, 'untilReady'>

/** A checker ended before it answered. */
export class CheckerDied extends Error {
  override readonly name = 'CheckerDied'
  /** It was killed from outside: not by its limits (SIGXCPU, SIGXFSZ), a crash or us. */
  readonly byOthers: boolean
  /** It ended by a limit, the wall clock or a crash of the decoder, and not by an exit of our own code. */
  readonly byMedium: boolean

  constructor(signal: NodeJS.Signals | null, timedOut: boolean, complaint: string) {
    super(
      `checker ended by ${signal ?? 'itself'}${timedOut ? ' at its wall clock' : ''}: ${complaint}`,
    )
    this.byOthers = !timedOut && (signal === 'SIGKILL' || signal === 'SIGTERM')
    this.byMedium = signal !== null
  }
}

/**
 * Starts a checker and resolves when it is ready.
 *
 * @throws Error when it does not become ready, which is never a medium's fault
 */
export async function startCheckerProcess(options: {
  tempDir: string
  bounds: CheckBounds
}): Promise<CheckerProcess> {
  const { tempDir, bounds } = options
  await mkdir(tempDir, { recursive: true })
  const home = await mkdtemp(join(tempDir, 'checker-'))
  const checker = converse(spawnChecker(home, tempDir, bounds), home, bounds)
  try {
    await checker.untilReady
    return checker
  } catch (error) {
    await checker.stop()
    throw error
  }
}

/**
 * The compiled code of the checkers, two thirds of the processor time of a start. Checkers write it, so nothing
 * else may load it.
 */
export function compileCacheOf(tempDir: string): string {
  return join(tempDir, 'compile-cache')
}

function spawnChecker(home: string, tempDir: string, bounds: CheckBounds): ChildProcess {
  return spawnLimited({
    command: process.execPath,
    args: ['--max-old-space-size=128', join(import.meta.dirname, 'checker-child.ts'), home],
    limits: {
      cpuSeconds: bounds.checkerCpuSeconds,
      memoryBytes: bounds.checkerMemoryBytes,
      fileBytes: bounds.fileBytes,
    },
    workingDir: home,
    env: { TMPDIR: home, UV_THREADPOOL_SIZE: '2', NODE_COMPILE_CACHE: compileCacheOf(tempDir) },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
}

/** The end of what a library printed is enough to see what it was. */
const complaintCharacters = 2_000

/** The error of a checker's last words, which are a line of the log; else what a library printed. */
function lastError(complaint: string): string {
  const line = complaint.trimEnd().split('\n').at(-1) ?? ''
  try {
    const { err } = logLineSchema.parse(JSON.parse(line))
    if (err) return `${err.type}: ${err.message}`
  } catch {
    // Not its own words.
  }
  return complaint.slice(-complaintCharacters)
}

/** The parent's half of the conversation. Whoever waits gets the next reply, or the error of the end. */
function converse(child: ChildProcess, home: string, bounds: CheckBounds) {
  let waiting: PromiseWithResolvers<CheckerReply> | undefined
  let timedOut = false
  const complaint = complaintOf(child, logLineMaxBytes)
  let checks = 0
  let isWorn = false
  let end: Error | undefined
  const closed = Promise.withResolvers<void>()
  const onEnd = (error: Error) => {
    end = error
    waiting?.reject(error)
    closed.resolve()
  }

  child.on('message', (message) => {
    const reply = checkerReplySchema.safeParse(message)
    if (reply.success) waiting?.resolve(reply.data)
    else killGroup(child)
  })
  child.on('error', (error) => {
    // A send to a dying child fails too, but then `close` follows. Only without a pid it was never started.
    if (child.pid === undefined) onEnd(error)
  })
  child.on('close', (_code, signal) =>
    onEnd(new CheckerDied(signal, timedOut, lastError(complaint()))),
  )

  async function nextReply(wallMs: number): Promise<CheckerReply> {
    if (end) throw end
    waiting = Promise.withResolvers()
    const timer = setTimeout(() => {
      timedOut = true
      isWorn = true
      killGroup(child)
    }, wallMs)
    try {
      return await waiting.promise
    } finally {
      clearTimeout(timer)
      waiting = undefined
    }
  }

  return {
    untilReady: nextReply(bounds.checkerStartMs),
    /** Whether it is gone, or so used up that the next request should get a new one. */
    get isWorn() {
      // The channel closes before the process is seen to have ended.
      return isWorn || end !== undefined || !child.connected
    },
    /** @throws CheckerDied when the process ends first, by its limits, at `wallMs` or from outside */
    async ask(request: CheckerRequest, wallMs: number): Promise<Answer> {
      const reply = nextReply(wallMs)
      child.send(request, () => undefined)
      const answer = await reply
      if (answer.kind === 'ready') throw new Error('a checker reported ready twice')
      checks += 1
      isWorn ||=
        checks >= bounds.checkerWornChecks ||
        answer.usage.cpuSeconds >= bounds.checkerWornCpuSeconds ||
        answer.usage.rssBytes >= bounds.checkerWornRssBytes
      return answer
    },
    /** Kills it and removes its temporary folder. Resolves when both are gone. Calling it twice is fine. */
    async stop() {
      killGroup(child)
      await closed.promise
      await rm(home, { recursive: true, force: true })
    },
  }
}
