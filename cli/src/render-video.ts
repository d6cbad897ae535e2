import { constants } from 'node:fs'
import { access, mkdir, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { failures, type ResultView, type StatusView } from '@avatar/contracts'
import { systemClock } from '@avatar/service-kit'
import { type ApiClient, download, type Submission } from './api-client.ts'
import { exitCodes, UserError } from './exit-codes.ts'

/** How often the status of a running job is fetched. */
const pollEveryMs = 400

const downloadWithinMs = 60_000
const downloadRetryMs = 1_000

type RenderVideo = {
  client: ApiClient
  submission: Submission
  /** The path of the video; its folder is created if it is missing. */
  out: string
  /** Aborted when the user gives up; the job is then cancelled. */
  signal: AbortSignal
  onAccepted: (job: { job_id: string; audio_seconds: number; estimated_seconds: number }) => void
  onView: (view: StatusView) => void
  onWarning: (message: string) => void
}

/**
 * Takes one job from submission to the file on disk.
 *
 * @throws UserError when the job is refused, fails or is cancelled
 */
export async function renderVideo(render: RenderVideo): Promise<ResultView & { path: string }> {
  const { client, signal } = render
  const path = await writablePath(render.out)
  const accepted = await client.generate(render.submission)
  render.onAccepted(accepted.data)
  for (const warning of accepted.meta.warnings ?? []) render.onWarning(warning.message)
  const jobId = accepted.data.job_id
  const view = await untilEnded(jobId, render)
  if (signal.aborted && view.status !== 'completed')
    throw new UserError('The job was cancelled.', exitCodes.interrupted)
  if (view.status === 'cancelled')
    throw new UserError('The job was cancelled.', exitCodes.jobCancelled)
  if (view.status === 'failed')
    throw new UserError(
      `The job failed: ${view.error?.message ?? 'no reason was given'} (${view.error?.code})`,
      exitCodes.jobFailed,
      view.error !== null && failures[view.error.code].blame === 'caller',
    )
  const video = await fetchVideo(client, jobId, path)
  for (const warning of video.warnings) render.onWarning(warning.message)
  return { ...video, path }
}

/**
 * The absolute path of the video, checked before anything is submitted. Creates its folder.
 *
 * @throws UserError when it cannot be written there
 */
async function writablePath(out: string): Promise<string> {
  const path = resolve(out)
  const folder = dirname(path)
  const made = mkdir(folder, { recursive: true }).then(() => access(folder, constants.W_OK))
  await made.catch((error: Error) => {
    throw new UserError(`${path} cannot be written: ${error.message}`, exitCodes.usage)
  })
  const isFolder = (await stat(path).catch(() => undefined))?.isDirectory()
  if (isFolder) throw new UserError(`${path} is a folder; name a file in it.`, exitCodes.usage)
  return path
}

/** Takes a fresh link for each try: the store may be away for a moment. */
async function fetchVideo(client: ApiClient, jobId: string, path: string): Promise<ResultView> {
  const deadline = systemClock.monotonicMs() + downloadWithinMs
  for (;;) {
    const result = await client.result(jobId)
    const fault = await download(result.url, path, result.sha256)
    if (!fault) return result
    if (systemClock.monotonicMs() > deadline) throw new UserError(fault, exitCodes.unreachable)
    await systemClock.wait(downloadRetryMs)
  }
}

async function untilEnded(jobId: string, { client, signal, onView }: RenderVideo) {
  let isCancelled = false
  for (;;) {
    if (signal.aborted && !isCancelled) isCancelled = await client.cancel(jobId)
    const view = await client.status(jobId)
    onView(view)
    if (view.finished_at !== null) return view
    await systemClock.wait(pollEveryMs, signal.aborted ? undefined : signal)
  }
}
