import type { ProcessName } from './stack-file.ts'

/** Writes one readable line of a process; `name` is `avatar` for the supervisor itself. */
export type LineWriter = (name: ProcessName | 'avatar', line: string) => void

const colours: Record<ProcessName | 'avatar', number> = {
  avatar: 37,
  nats: 36,
  s3: 34,
  ingest: 32,
  orchestrator: 35,
  janitor: 33,
  sidecar: 96,
}
const nameWidth = 'orchestrator'.length

/** Prefixes lines with the time and the process, in colour where a person watches. */
export function prefixedLines(
  write: (text: string) => void,
  options: { hasColours: boolean; nowMs: () => number },
): LineWriter {
  return (name, line) => {
    const time = new Date(options.nowMs()).toISOString().slice(11, 23)
    const prefix = name.padEnd(nameWidth)
    write(
      options.hasColours
        ? `\u001b[2m${time}\u001b[0m \u001b[${colours[name]}m${prefix}\u001b[0m ${line}\n`
        : `${time} ${prefix} ${line}\n`,
    )
  }
}

/** Keys that every line repeats, or that the prefix tells already. */
const untold: ReadonlySet<string> = new Set(['level', 'time', 'service', 'msg', 'err', 'config'])

/**
 * A service's JSON line as a person reads it: level where it matters, the sentence, then the keys.
 * Any other text is passed through.
 */
export function readableLine(line: string): string {
  const fields = parseFields(line)
  if (!fields) return line
  const level = fields['level'] === 'info' ? '' : `${String(fields['level'] ?? '').toUpperCase()} `
  const keys = Object.entries(fields)
    .filter(([key]) => !untold.has(key))
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  const error = describeError(fields['err'])
  return [`${level}${fields['msg']}`, ...keys, error && `(${error})`].filter(Boolean).join(' ')
}

/** Whether a line of a server, which logs each of its own inner steps, is worth a person's time. */
export function isNotable(name: ProcessName, line: string): boolean {
  if (name === 'nats') return /\[(WRN|ERR|FTL)\]/.test(line)
  if (name === 's3') return /^[EF]\d{4} |^panic:/.test(line)
  return line !== ''
}

function parseFields(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const fields: unknown = JSON.parse(line)
    const isLog = typeof fields === 'object' && fields !== null && 'msg' in fields
    return isLog ? { ...fields } : undefined
  } catch {
    return undefined
  }
}

/** The messages of an error and its causes, outermost first; '' for none. */
function describeError(error: unknown): string {
  if (typeof error !== 'object' || error === null) return error ? String(error) : ''
  const { message, cause } = error as { message?: unknown; cause?: unknown } // Only printed.
  return [String(message), describeError(cause)].filter(Boolean).join(': ')
}
