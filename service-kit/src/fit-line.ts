import { type LoggedError, logLineMaxBytes } from '@avatar/contracts'

const cutMark = '… [cut]'
/** Strings are cut to these lengths, one after the other, until the line fits. */
const lengths = [4_096, 1_024, 256, 64]
const itemsAtMost = 50
/** A character is three bytes at most; most lines need not be measured. */
const bytesOfCharacter = 3

/**
 * The line in at most 16 KB. The stacks are cut first, the innermost first of all, then whatever else is
 * long. It is scrubbed before, because half a secret is not found.
 */
export function fitLine(line: string): string {
  if (line.length * bytesOfCharacter <= logLineMaxBytes) return line
  let overBytes = Buffer.byteLength(line) - logLineMaxBytes
  if (overBytes <= 0) return line
  const fields: Record<string, unknown> & { err?: LoggedError } = JSON.parse(line)
  for (const error of chainOf(fields.err).toReversed()) {
    if (overBytes <= 0 || !error.stack) continue
    const before = Buffer.byteLength(JSON.stringify(error.stack))
    error.stack = cut(error.stack, error.stack.length - overBytes)
    overBytes -= before - Buffer.byteLength(JSON.stringify(error.stack))
  }
  let fitted = `${JSON.stringify(fields)}\n`
  for (const length of lengths) {
    if (Buffer.byteLength(fitted) <= logLineMaxBytes) break
    fitted = `${JSON.stringify(fields, (_, value) => shortened(value, length))}\n`
  }
  if (Buffer.byteLength(fitted) <= logLineMaxBytes) return fitted
  const { time, level, service, msg } = fields
  return `${JSON.stringify({ time, level, service, msg: shortened(msg, 64) })}\n`
}

/** The error and its causes, outermost first. */
function chainOf(error: LoggedError | undefined): LoggedError[] {
  return error ? [error, ...chainOf(error.cause)] : []
}

function cut(text: string, length: number): string {
  if (text.length <= length) return text
  return text.slice(0, Math.max(0, length - cutMark.length)) + cutMark
}

function shortened(value: unknown, length: number): unknown {
  if (typeof value === 'string') return cut(value, length)
  return Array.isArray(value) ? value.slice(0, itemsAtMost) : value
}
