import { statSync } from 'node:fs'
import { systemClock } from '@avatar/service-kit'
import { createApiClient, type Submission } from '../api-client.ts'
import type { CommandContext } from '../command-context.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { withKeyRing } from '../key-ring.ts'
import { progressDisplay } from '../progress-display.ts'
import { renderVideo } from '../render-video.ts'
import { readIfThere, writePrivately } from '../stack/data-folder.ts'
import { aborted, listenForStop } from '../stop-signals.ts'
import { findSystem, type System } from '../system.ts'

export type GenerateOptions = {
  out: string
  key?: string
  url?: string
  data?: string
  json?: boolean
}

/**
 * `avatar generate`: makes one video and shows its progress. Ctrl-C cancels the job and waits for its
 * end; a second one leaves at once.
 */
export async function generate(
  submission: Submission,
  options: GenerateOptions,
  context: CommandContext,
) {
  for (const file of Object.values(submission.files)) refuseMissing(file)
  const system = options.url
    ? { url: options.url, nats: undefined, data: undefined }
    : await findSystem(options.data, context.env)
  if (!system.url) throw new UserError('Set AVATAR_URL, or give --url.', exitCodes.usage)
  const key = options.key ?? context.env['AVATAR_API_KEY'] ?? (await keyOfThisMachine(system))

  const json = (event: string, fields: object) => {
    if (options.json) context.stdout.write(`${JSON.stringify({ event, ...fields })}\n`)
  }
  const display = progressDisplay(context)
  const stop = listenForStop(context.signals, systemClock)
  let told = ''
  try {
    const rendering = renderVideo({
      client: createApiClient(system.url, key),
      submission,
      out: options.out,
      signal: stop.requested,
      onWarning: (message) => context.stderr.write(`warning: ${message}\n`),
      onAccepted: (job) => {
        json('accepted', job)
        if (!options.json) context.stderr.write(`job ${job.job_id}\n`)
      },
      onView: (view) => {
        if (!options.json) return display.show(view)
        if (JSON.stringify(view) !== told) json('status', view)
        told = JSON.stringify(view)
      },
    })
    const video = await Promise.race([rendering, leaveAtOnce(stop.insisted)])
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
    stop.forget()
  }
}

/** @throws UserError when there is no such file */
export function refuseMissing(file: string) {
  const stat = statSync(file, { throwIfNoEntry: false })
  if (!stat) throw new UserError(`There is no file ${file}.`, exitCodes.usage)
  if (!stat.isFile()) throw new UserError(`${file} is no file.`, exitCodes.usage)
}

/** @throws UserError once the user insists on leaving before the job has ended */
async function leaveAtOnce(insisted: AbortSignal): Promise<never> {
  await aborted(insisted)
  throw new UserError(
    'Left without waiting; the job may still be on its way to be cancelled.',
    exitCodes.interrupted,
  )
}

/** The API key that the command line keeps in the data folder; created when there is none. */
async function keyOfThisMachine(system: System): Promise<string> {
  if (!system.data)
    throw new UserError('Give an API key: --key, or AVATAR_API_KEY.', exitCodes.usage)
  const kept = await readIfThere(system.data.cliKeyFile)
  if (kept) return kept.trim()
  const key = await withKeyRing(system, (keys) => keys.create('avatar generate'))
  await writePrivately(system.data.cliKeyFile, `${key}\n`)
  return key
}
