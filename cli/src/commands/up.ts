import { systemClock } from '@avatar/service-kit'
import type { CommandContext } from '../command-context.ts'
import { dataFolder } from '../stack/data-folder.ts'
import { prefixedLines } from '../stack/log-lines.ts'
import { startStack } from '../stack/start-stack.ts'

/** The system is expected to be ready by then; it is waited for all the same. */
const readyWithinMs = 60_000

/** A terminal and npm both pass one Ctrl-C on; copies within this time are the same wish. */
const sameSignalMs = 1_000

export type UpOptions = { data: string; port?: number }

/** `avatar up`: the whole system in the foreground until the first Ctrl-C or SIGTERM. */
export async function up(options: UpOptions, { env, stdout }: CommandContext): Promise<number> {
  stdout.on('error', () => undefined) // The reader went away; the system goes on.
  const write = prefixedLines((text) => stdout.write(text), {
    hasColours: stdout.isTTY && !env['NO_COLOR'],
    nowMs: systemClock.nowMs,
  })
  const wish = stopWish()
  const stack = await startStack({
    data: dataFolder(options.data),
    ...(options.port === undefined ? {} : { httpPort: options.port }),
    env,
    clock: systemClock,
    write,
    isVerbose: env['LOG_LEVEL'] === 'debug' || env['LOG_LEVEL'] === 'trace',
  })
  wish.onInsist(() => {
    stack.kill()
    process.exit(1)
  })
  const late = setTimeout(
    () => write('avatar', 'still not ready after a minute; `avatar doctor` may know why'),
    readyWithinMs,
  )
  await stack.ready(wish.signal)
  clearTimeout(late)
  if (!wish.signal.aborted) stdout.write(`avatar-api ready ${stack.url}\n`)
  await wish.made
  write('avatar', 'stopping')
  await stack.stop()
  write('avatar', 'stopped')
  return 0
}

/** The first signal asks to stop in order; one that comes clearly later insists. */
function stopWish() {
  const wish = new AbortController()
  let firstAtMs: number | undefined
  let insist = () => process.exit(1)
  const onSignal = () => {
    const nowMs = systemClock.monotonicMs()
    if (firstAtMs === undefined) {
      firstAtMs = nowMs
      wish.abort()
    } else if (nowMs - firstAtMs > sameSignalMs) insist()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  return {
    signal: wish.signal,
    made: new Promise<void>((resolve) => {
      wish.signal.addEventListener('abort', () => resolve(), { once: true })
    }),
    onInsist: (act: () => never) => {
      insist = act
    },
  }
}
