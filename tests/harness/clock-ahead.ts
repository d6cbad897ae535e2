import { join } from 'node:path'
import { type ServiceName, specOf } from '@avatar/contracts'

const folder = join(import.meta.dirname, 'shifted-clock')

/** The environment of `avatar up` in which these services believe it to be so many seconds later. */
export function clocksAhead(
  seconds: Readonly<Partial<Record<ServiceName, number>>>,
): Record<string, string> {
  const entries = Object.entries(seconds).flatMap(([name, ahead]) => {
    const service = name as ServiceName // Object.entries forgets the names.
    const prefix = service.toUpperCase()
    const preload =
      specOf(service).kind === 'python'
        ? { [`${prefix}_PYTHONPATH`]: folder }
        : { [`${prefix}_NODE_OPTIONS`]: `--import=${join(folder, 'shifted-clock.ts')}` }
    return Object.entries({ ...preload, [`${prefix}_CLOCK_AHEAD_SECONDS`]: String(ahead) })
  })
  return Object.fromEntries(entries)
}
