import { existsSync } from 'node:fs'
import { systemClock } from '@avatar/service-kit'
import { createApiClient } from '../api-client.ts'
import type { CommandContext } from '../command-context.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { openKeyRing } from '../key-ring.ts'
import { progressDisplay } from '../progress-display.ts'
import { renderVideo } from '../render-video.ts'
import { readIfThere, writePrivately } from '../stack/data-folder.ts'
import { asOperator, findSystem, type System } from '../system.ts'

export type GenerateOptions = {
  image: string
  audio: string
  out: string
  prompt?: string
  seed?: number
  key?: string
  url?: string
  data?: string
  json?: boolean
}

/** `avatar generate`: one video, with a live view of its way. Ctrl-C cancels the job. */
export async function generate(options: GenerateOptions, context: CommandContext) {
  for (const file of [options.image, options.audio])
    if (!existsSync(file)) throw new UserError(`There is no file ${file}.`, exitCodes.usage)
  const system = options.url
    ? { url: options.url, nats: undefined, data: undefined }
    : await findSystem(options.data, context.env)
  if (!system.url) throw new UserError('Set AVATAR_URL, or give --url.', exitCodes.usage)
  const key = options.key ?? context.env['AVATAR_API_KEY'] ?? (await keyOfThisMachine(system))

  const json = (event: string, fields: object) => {
    if (options.json) context.stdout.write(`${JSON.stringify({ event, ...fields })}\n`)
  }
  const display = progressDisplay(context, systemClock.nowMs)
  const giveUp = new AbortController()
  const onSignal = () => giveUp.abort()
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal)
  let told = ''
  try {
    const video = await renderVideo({
      client: createApiClient(system.url, key, systemClock),
      submission: {
        image: options.image,
        audio: options.audio,
        ...(options.prompt === undefined ? {} : { prompt: options.prompt }),
        ...(options.seed === undefined ? {} : { seed: options.seed }),
      },
      out: options.out,
      clock: systemClock,
      signal: giveUp.signal,
      onWarning: (message) => context.stderr.write(`warning: ${message}\n`),
      onView: (view) => {
        if (!options.json) return display.show(view)
        if (JSON.stringify(view) !== told) json('status', view)
        told = JSON.stringify(view)
      },
    })
    display.end()
    json('completed', video)
    if (!options.json)
      context.stdout.write(
        `${video.path}  ${video.width}×${video.height}, ${video.video_seconds.toFixed(1)} s, ` +
          `engine ${video.engine}, rendered in ${video.render_seconds.toFixed(1)} s\n`,
      )
  } catch (error) {
    display.end()
    if (error instanceof UserError)
      json('error', { message: error.message, exit_code: error.exitCode })
    throw error
  } finally {
    process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal)
  }
}

/** The key that the command line made for itself on this machine; made when there is none. */
async function keyOfThisMachine(system: System): Promise<string> {
  if (!system.data)
    throw new UserError('Give an API key: --key, or AVATAR_API_KEY.', exitCodes.usage)
  const kept = await readIfThere(system.data.cliKeyFile)
  if (kept) return kept.trim()
  const { key } = await asOperator(system, async (bus) =>
    (await openKeyRing(bus, systemClock.nowMs)).create('avatar generate'),
  )
  await writePrivately(system.data.cliKeyFile, `${key}\n`)
  return key
}
