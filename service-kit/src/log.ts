import {
  type FailureCode,
  failures,
  type LogKeys,
  levelOf,
  type logLevels,
} from '@avatar/contracts'
import { type DestinationStream, pino } from 'pino'
import { describeError } from './describe-error.ts'
import { asAppError } from './errors.ts'
import { fitLine } from './fit-line.ts'
import { scrubSecrets } from './scrub.ts'

type Level = keyof typeof logLevels

/** The keys of a line. An error is given as it was caught. */
export type Keys = Omit<LogKeys, 'err'> & { err?: unknown }

/** Writes a line: a constant sentence, and the data in keys of the fixed list. */
type Write = {
  (sentence: string): void
  (keys: Keys, sentence: string): void
}

/** A logger. Its children write their keys into every line, and inherit what counts failures. */
export type Log = Record<Level, Write> & {
  child(keys: Keys): Log
  [onFailure]?: (code: FailureCode) => void
}

const onFailure = Symbol('onFailure')

export type LogOptions = {
  destination?: DestinationStream
  /** Told of each failure that `logFailure` writes, for a counter. */
  countFailure?: (code: FailureCode) => void
  /** Told of each line by its level, for a counter. */
  countLine?: (level: string) => void
}

/**
 * The logger of a service: JSON lines on standard output that follow `logLineSchema`, without secrets
 * and at most 16 KB long. The Python side writes the same.
 */
export function createLog(service: string, level: string, options: LogOptions = {}): Log {
  const { destination = pino.destination({ fd: 1, sync: true }), countFailure, countLine } = options
  // The cast: pino takes any keys, ours only those that have a name.
  const log = pino(
    {
      level,
      base: { service },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
      hooks: {
        streamWrite: (line) => fitLine(scrubSecrets(line)),
        logMethod(args, method, number) {
          countLine?.(pino.levels.labels[number] ?? '')
          method.apply(this, args)
        },
      },
    },
    destination,
  ) as unknown as Log
  if (countFailure) log[onFailure] = countFailure
  return log
}

/**
 * Writes a failure and counts it. The row of its code in the failure table decides the level: our
 * fault is an error, a dependency's a warning, a caller's mistake is information.
 */
export function logFailure(log: Log, error: unknown, sentence: string, keys: Keys = {}): void {
  const { code } = asAppError(error)
  log[levelOf(code)]({ err: error, code, blame: failures[code].blame, ...keys }, sentence)
  countFailure(log, code)
}

/** Counts a failure that gets no line of its own. */
export function countFailure(log: Log, code: FailureCode): void {
  log[onFailure]?.(code)
}
