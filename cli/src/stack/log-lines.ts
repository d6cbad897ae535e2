import { type ProcessName, processNames, services } from '@avatar/contracts'

/** Writes one readable line of a process, by its label; `avatar` is the supervisor itself. */
export type LineWriter = (label: string, line: string) => void

/** The supervisor is white. The others take colours that both dark and light terminals show. */
const supervisorColour = 37
const palette = [36, 34, 32, 35, 33, 96, 94, 92, 95, 93]
const nameWidth = Math.max(...processNames.map((name) => name.length))

function colourOf(label: string): number {
  const place = processNames.findIndex((name) => label.startsWith(name))
  return palette[place % palette.length] ?? supervisorColour
}

/** Prefixes lines with the time and the process, in colour where a person watches. */
export function prefixedLines(
  write: (text: string) => void,
  options: { hasColours: boolean; nowMs: () => number },
): LineWriter {
  return (label, line) => {
    const time = new Date(options.nowMs()).toISOString().slice(11, 23)
    const prefix = label.padEnd(nameWidth)
    write(
      options.hasColours
        ? `\u001b[2m${time}\u001b[0m \u001b[${colourOf(label)}m${prefix}\u001b[0m ${line}\n`
        : `${time} ${prefix} ${line}\n`,
    )
  }
}

/** Keys that every line repeats, or that the prefix already shows. */
const hidden: ReadonlySet<string> = new Set(['level', 'time', 'service', 'msg', 'err', 'config'])

/**
 * A service's JSON line for people: the level unless it is info, the sentence, then the keys. What is wrong
 * with a configuration follows in lines of its own. Passes any other text through.
 */
export function readableLine(line: string): string {
  const fields = parseFields(line)
  if (!fields) return line
  if (Array.isArray(fields['problems']))
    return [`${capitalised(String(fields['msg']))}:`, ...fields['problems']].join('\n')
  const level = fields['level'] === 'info' ? '' : `${String(fields['level'] ?? '').toUpperCase()} `
  const keys = Object.entries(fields)
    .filter(([key]) => !hidden.has(key))
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  const error = describeError(fields['err'])
  return [`${level}${fields['msg']}`, ...keys, error && `(${error})`].filter(Boolean).join(' ')
}

/** Whether a line is worth a person's time: of the servers, which log every step, only warnings. */
export function isNotable(name: ProcessName, line: string): boolean {
  if (services[name].kind !== 'server') return line !== ''
  if (line.includes('Healthcheck failed')) return false // Once for each look at a broker in trouble.
  return /\[(WRN|ERR|FTL)\]|^[EF]\d{4} |^panic:/.test(line)
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
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
  const message = 'message' in error ? error.message : error
  return [String(message), 'cause' in error && describeError(error.cause)]
    .filter(Boolean)
    .join(': ')
}
