import { writeSync } from 'node:fs'
import type { LogKeys, logLevels } from '@avatar/contracts'
import { describeError } from './describe-error.ts'
import { fitLine } from './fit-line.ts'
import { scrubSecrets } from './scrub.ts'

/** How long the last line may take: a second. */
const triesAtFullPipe = 100
const pauseMs = 10

/** What Node ends a process with by which an error was not caught. */
const uncaughtExitCode = 1

/**
 * From here on Node prints nothing by itself: an error that nobody catches, a rejection that nobody handles
 * and each of its warnings becomes one scrubbed line. The process then ends as it would have ended.
 */
export function installLastWords(service: string): void {
  process.on('uncaughtException', (error, origin) => {
    lastWords(service, error, origin)
    process.exit(uncaughtExitCode)
  })
  process.removeAllListeners('warning') // Node's own prints them as text.
  process.on('warning', (warning) => {
    say(1, service, 'warn', 'Node warns', { err: describeError(warning) })
  })
}

/** The last line of a process that ends by an error which nobody caught. */
export function lastWords(
  service: string,
  error: unknown,
  origin: string,
  descriptor: 1 | 2 = 1,
): void {
  const keys = { err: describeError(error), origin }
  say(descriptor, service, 'fatal', 'uncaught error, the process ends', keys)
}

/** The line of a process that refuses its configuration, on standard error. `avatar up` explains it. */
export function refuseConfiguration(service: string, problems: readonly string[]): void {
  const msg = 'the configuration is not valid'
  process.stderr.write(lineOf(service, 'fatal', msg, { problems: [...problems] }))
}

/** A line without a logger, which may be what is broken, or not there yet. */
function lineOf(
  service: string,
  level: keyof typeof logLevels,
  msg: string,
  keys: LogKeys,
): string {
  const line = { level, time: new Date().toISOString(), service, ...keys, msg }
  return fitLine(scrubSecrets(`${JSON.stringify(line)}\n`))
}

function say(descriptor: 1 | 2, ...parts: Parameters<typeof lineOf>): void {
  try {
    writeAll(descriptor, lineOf(...parts))
  } catch {
    // Nobody reads any more, or the disk is full: there is no other place to say it.
  }
}

/** A pipe that is full for the moment refuses; pino, whose lines came before, has made no stream of it either. */
function writeAll(descriptor: 1 | 2, line: string): void {
  let rest = Buffer.from(line)
  for (let tries = 0; rest.length > 0 && tries < triesAtFullPipe; tries++) {
    try {
      rest = rest.subarray(writeSync(descriptor, rest))
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs)
    }
  }
}
