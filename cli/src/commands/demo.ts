import { globSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '@avatar/service-kit'
import { createApiClient } from '../api-client.ts'
import type { CommandContext } from '../command-context.ts'
import { withEnvFile } from '../env-file.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { withKeyRing } from '../key-ring.ts'
import { progressDisplay } from '../progress-display.ts'
import { renderVideo } from '../render-video.ts'
import { dataFolder } from '../stack/data-folder.ts'
import { repositoryRoot } from '../stack/installation.ts'
import { prefixedLines } from '../stack/log-lines.ts'
import { startStack } from '../stack/start-stack.ts'
import { aborted, listenForStop } from '../stop-signals.ts'
import { findSystem } from '../system.ts'
import { refuseMissing } from './generate.ts'

export type DemoOptions = { image?: string; audio?: string; out: string; data: string }

/** How much of the system's log a failed demo shows. */
const logLinesOnFailure = 40

/** `avatar demo`: the whole system up, one video through its public API, the whole system down. */
export async function demo(options: DemoOptions, context: CommandContext): Promise<number> {
  const startedAtMs = systemClock.monotonicMs()
  const image = options.image ?? example('.{png,jpg}')
  const audio = options.audio ?? example('.wav')
  const data = dataFolder(options.data)
  const log: string[] = []
  for (const file of [image, audio]) refuseMissing(file)
  const stop = listenForStop(context.signals, systemClock)
  const stack = await startStack({
    data,
    httpPort: 0,
    env: await withEnvFile(context),
    write: prefixedLines((line) => log.push(line), { hasColours: false, nowMs: Date.now }),
    isVerbose: false,
  })
  const ending = AbortSignal.any([stop.requested, stack.refused])
  const display = progressDisplay(context)
  try {
    context.stderr.write('Starting the system …\n')
    await stack.ready(ending)
    ending.throwIfAborted()
    const system = await findSystem(options.data, {})
    const key = await withKeyRing(system, (keys) => keys.create('demo'))
    context.stderr.write(`${stack.url} is ready. Rendering ${image} with ${audio}\n`)
    const video = await renderVideo({
      client: createApiClient(stack.url, key),
      submission: { files: { image, audio }, fields: {} },
      out: options.out,
      signal: ending,
      onAccepted: () => undefined,
      onView: display.show,
      onWarning: (message) => context.stderr.write(`warning: ${message}\n`),
    })
    display.end()
    const seconds = (systemClock.monotonicMs() - startedAtMs) / 1000
    context.stdout.write(
      `${video.path}\n${video.width}×${video.height}, ${video.fps} fps, ` +
        `${video.video_seconds.toFixed(1)} s of video, engine ${video.engine}: ` +
        `rendered in ${video.render_seconds.toFixed(1)} s, ${seconds.toFixed(1)} s in all\n`,
    )
    return exitCodes.ok
  } catch (error) {
    display.end()
    if (stop.requested.aborted) return exitCodes.interrupted
    const refusal = stack.refusal()
    if (refusal) throw refusal
    const isExplained = error instanceof UserError && error.blamesCaller
    if (!isExplained) context.stderr.write(log.slice(-logLinesOnFailure).join(''))
    throw error
  } finally {
    void aborted(stop.insisted).then(stack.kill)
    await stack.stop()
    stop.forget()
    await rm(data.path, { recursive: true, force: true })
  }
}

function example(ending: string): string {
  const [found] = globSync(`examples/*${ending}`, { cwd: repositoryRoot })
  if (!found) throw new UserError(`There is no examples/*${ending}; give --image and --audio.`)
  return join(repositoryRoot, found)
}
