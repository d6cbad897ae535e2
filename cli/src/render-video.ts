import { mkdir } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { ResultView, StatusView } from '@avatar/contracts'
import type { Clock } from '@avatar/service-kit'
import { type ApiClient, download, type Submission } from './api-client.ts'
import { exitCodes, UserError } from './exit-codes.ts'

/** How often a job is looked at while it is on its way. */
const lookEveryMs = 400

export type RenderVideo = {
  client: ApiClient
  submission: Submission
  /** Where the video goes; its folder is made if need be. */
  out: string
  clock: Clock
  /** Aborted when the user gives up: the job is cancelled. */
  signal: AbortSignal
  onView: (view: StatusView) => void
  onWarning: (message: string) => void
}

/**
 * One job from submission to the file on disk.
 *
 * @throws UserError when the job is refused, fails or is cancelled
 */
export async function renderVideo(render: RenderVideo): Promise<ResultView & { path: string }> {
  const { client, signal } = render
  const accepted = await client.generate(render.submission)
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
    )
  const result = await client.result(jobId)
  const path = resolve(render.out)
  await mkdir(dirname(path), { recursive: true })
  await download(result.url, path, result.sha256)
  return { ...result, path }
}

async function untilEnded(jobId: string, { client, clock, signal, onView }: RenderVideo) {
  let isCancelled = false
  for (;;) {
    if (signal.aborted && !isCancelled) {
      isCancelled = true
      await client.cancel(jobId)
    }
    const view = await client.status(jobId)
    onView(view)
    if (view.finished_at !== null) return view
    await clock.wait(lookEveryMs, isCancelled ? undefined : signal)
  }
}
