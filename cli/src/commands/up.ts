import { systemClock } from '@avatar/service-kit'
import type { CommandContext } from '../command-context.ts'
import { exitCodes } from '../exit-codes.ts'
import { prefixedLines } from '../stack/log-lines.ts'
import { wantedHttpPort } from '../stack/ports.ts'
import { startStack } from '../stack/start-stack.ts'
import { aborted, hearStopWish } from '../stop-wish.ts'
import { folderOf } from '../system.ts'

/** The system is expected to be ready by then; it is waited for all the same. */
const readyWithinMs = 60_000

export type UpOptions = { data?: string; port?: number }

/**
 * `avatar up`: the whole system in the foreground until the first Ctrl-C, SIGTERM or SIGHUP; a second
 * one, more than a second later, ends everything at once.
 */
export async function up(
  options: UpOptions,
  { env, stdout, signals }: CommandContext,
): Promise<number> {
  stdout.on('error', () => undefined) // The reader went away; the system goes on.
  const write = prefixedLines((text) => stdout.write(text), {
    hasColours: stdout.isTTY && !env['NO_COLOR'],
    nowMs: systemClock.nowMs,
  })
  const wish = hearStopWish(signals, systemClock)
  const stack = await startStack({
    data: folderOf(options.data, env),
    httpPort: options.port ?? wantedHttpPort(env),
    env,
    clock: systemClock,
    write,
    isVerbose: env['LOG_LEVEL'] === 'debug' || env['LOG_LEVEL'] === 'trace',
  })
  const late = setTimeout(
    () => write('avatar', 'still not ready after a minute; `avatar doctor` may know why'),
    readyWithinMs,
  )
  await stack.ready(wish.made)
  clearTimeout(late)
  if (!wish.made.aborted) stdout.write(`avatar-api ready ${stack.url}\n`)
  await aborted(wish.made)
  write('avatar', 'stopping; Ctrl-C again stops at once')
  void aborted(wish.insisted).then(stack.kill)
  await stack.stop()
  wish.forget()
  write('avatar', 'stopped')
  return wish.insisted.aborted ? exitCodes.failed : exitCodes.ok
}
