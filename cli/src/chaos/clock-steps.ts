import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ServiceName } from '@avatar/contracts'

/** Where Debian's package libfaketime puts it; the threads of Node need this variant. */
const libraries = [
  '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1',
  '/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1',
]

/** The wall clock of one service, which can be set while it runs. Its monotonic clock is left alone. */
export type ClockSteps = {
  /** For `avatar up`: the service then reads its time from the file. */
  env: Readonly<Record<string, string>>
  setAhead(seconds: number): Promise<void>
}

/** Undefined where libfaketime is not installed. */
export async function openClockSteps(
  service: ServiceName,
  folder: string,
): Promise<ClockSteps | undefined> {
  const library = libraries.find((path) => existsSync(path))
  if (!library) return undefined
  const file = join(folder, 'clock-step')
  const setAhead = (seconds: number) => writeFile(file, `${seconds < 0 ? '' : '+'}${seconds}`)
  await setAhead(0)
  const prefix = service.toUpperCase()
  return {
    env: {
      [`${prefix}_LD_PRELOAD`]: library,
      [`${prefix}_FAKETIME_TIMESTAMP_FILE`]: file,
      [`${prefix}_FAKETIME_NO_CACHE`]: '1',
      // Timers, leases and timeouts count by the monotonic clock, which no administrator can set.
      [`${prefix}_FAKETIME_DONT_FAKE_MONOTONIC`]: '1',
    },
    setAhead,
  }
}
