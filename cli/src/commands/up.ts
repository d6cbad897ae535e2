import { systemClock } from '@avatar/service-kit'
import type { CommandContext } from '../command-context.ts'
import { withEnvFile } from '../env-file.ts'
import { exitCodes } from '../exit-codes.ts'
import type { Replicas } from '../stack/instances.ts'
import { prefixedLines } from '../stack/log-lines.ts'
import { wantedHttpPort } from '../stack/ports.ts'
import { startStack } from '../stack/start-stack.ts'
import { aborted, listenForStop } from '../stop-signals.ts'
import { folderOf } from '../system.ts'

/** A system that takes longer gets a hint; the wait goes on. */
const readyWithinMs = 60_000

export type UpOptions = { data?: string; port?: number; replicas?: Replicas; observe?: boolean }

/**
 * `avatar up`: the whole system in the foreground until the first Ctrl-C, SIGTERM or SIGHUP. A second
 * one, more than a second later, kills everything at once.
 *
 * @returns 0 when every service stopped in order, else 1
 * @throws UserError when a service refuses its configuration, once everything has stopped
 */
export async function up(options: UpOptions, context: CommandContext): Promise<number> {
  const { stdout, signals } = context
  const stop = listenForStop(signals, systemClock)
  const env = await withEnvFile(context)
  stdout.on('error', () => undefined) // The reader has gone; the system goes on.
  const write = prefixedLines((text) => stdout.write(text), {
    hasColours: stdout.isTTY && !env['NO_COLOR'],
    nowMs: systemClock.nowMs,
  })
  const stack = await startStack({
    data: folderOf(options.data, context.env),
    httpPort: options.port ?? wantedHttpPort(env),
    replicas: options.replicas,
    isObserved: options.observe,
    env,
    write,
    isVerbose: env['LOG_LEVEL'] === 'debug' || env['LOG_LEVEL'] === 'trace',
  })
  const late = setTimeout(
    () => write('avatar', 'still not ready after a minute; `avatar doctor` may know why'),
    readyWithinMs,
  )
  const ending = AbortSignal.any([stop.requested, stack.refused])
  await stack.ready(ending)
  clearTimeout(late)
  if (!ending.aborted) {
    stdout.write(`avatar-api ready ${stack.url}\n`)
    const page = await fetch(stack.url, { signal: ending }).catch(() => undefined)
    if (page?.ok) write('avatar', `open ${stack.url}/ in a browser to make a video by hand`)
  }
  await aborted(ending)
  write('avatar', 'stopping; Ctrl-C again stops at once')
  void aborted(stop.insisted).then(stack.kill)
  const failed = await stack.stop()
  stop.forget()
  const note = failed.length > 0 ? `; not in order: ${failed.join(', ')}` : ''
  write('avatar', `stopped${note}`)
  const refusal = stack.refusal()
  if (refusal) throw refusal
  return failed.length > 0 || stop.insisted.aborted ? exitCodes.failed : exitCodes.ok
}
