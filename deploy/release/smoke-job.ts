import { createHash } from 'node:crypto'
import { openAsBlob } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { resultViewSchema, statusViewSchema } from '@avatar/contracts'
import { type Smoke, StepError } from './deployment.ts'

export type SmokeOptions = {
  /** The address of the API, as clients reach it. */
  url: string
  /** The folder of portrait.jpg and voice.wav. */
  examples: string
  /** A cold start included. */
  withinMs?: number
  lookAgainMs?: number
}

/** The voice of the examples. The video ends with the first frame that is not shorter. */
const voiceSeconds = 7.1
const tolerancePlusMinusSeconds = 0.2

/** Renders the example through the API, as a client would, and looks at what comes back. */
export function smokeJob({
  url,
  examples,
  withinMs = 15 * 60_000,
  lookAgainMs = 1_000,
}: SmokeOptions): Smoke {
  return {
    async renderOne(apiKey) {
      const headers = { authorization: `Bearer ${apiKey}` }
      const ask = async (path: string, init: RequestInit = {}): Promise<unknown> => {
        const answer = await fetch(`${url}${path}`, { ...init, headers })
        const text = await answer.text()
        if (answer.ok) return JSON.parse(text).data
        throw new StepError(`${path} answered ${answer.status}: ${text.slice(0, 500)}`)
      }
      const form = new FormData()
      form.set('image', await openAsBlob(join(examples, 'portrait.jpg')), 'portrait.jpg')
      form.set('audio', await openAsBlob(join(examples, 'voice.wav')), 'voice.wav')
      const submitted = statusViewSchema
        .pick({ job_id: true })
        .parse(await ask('/generate', { method: 'POST', body: form }))
      const jobId = submitted.job_id
      const deadlineMs = performance.now() + withinMs
      for (;;) {
        const { status } = statusViewSchema
          .pick({ status: true })
          .parse(await ask(`/status/${jobId}`))
        if (status === 'completed') break
        if (status === 'failed' || status === 'cancelled')
          throw new StepError(`the smoke job ${jobId} is ${status}`)
        if (performance.now() > deadlineMs)
          throw new StepError(`the smoke job ${jobId} is ${status} after ${withinMs / 1000} s`)
        await wait(lookAgainMs)
      }
      const result = resultViewSchema
        .pick({ url: true, bytes: true, sha256: true, video_seconds: true })
        .parse(await ask(`/result/${jobId}`))
      const video = Buffer.from(await (await fetch(result.url)).arrayBuffer())
      const sha256 = createHash('sha256').update(video).digest('hex')
      if (video.length !== result.bytes || sha256 !== result.sha256)
        throw new StepError(`the video of ${jobId} is not the one that was rendered`)
      if (Math.abs(result.video_seconds - voiceSeconds) > tolerancePlusMinusSeconds)
        throw new StepError(`the video of ${jobId} is ${result.video_seconds} s long`)
      return `${jobId}: ${result.video_seconds} s of video, ${result.bytes} bytes`
    },
  }
}
