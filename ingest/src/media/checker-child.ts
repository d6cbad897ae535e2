/**
 * The program of a checker process. It handles hostile media for the service, one request at a time,
 * under the limits that its parent set. It imports as little as it can: after a bad medium, the next
 * request may wait for its start.
 */
import { rmSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import sharp from 'sharp'
import type { CheckerReply, CheckerRequest } from './checker-protocol.ts'
import { gateWav } from './gate-wav.ts'
import { locateAudio } from './locate-audio.ts'
import { measureMp3 } from './measure-mp3.ts'
import { MediumRefused } from './medium-refused.ts'
import { normaliseImage } from './normalise-image.ts'
import { normalisePcmWav } from './pcm-wav.ts'
import { repairWav } from './repair-wav.ts'

const [, , home] = process.argv

process.on('uncaughtException', async (error, origin) => {
  // Only now: a start must not wait for the import. The parent reads standard error.
  const { lastWords } = await import('@avatar/service-kit/last-words')
  lastWords('ingest', error, origin, 2)
  process.exit(1)
})

/** Ends with the parent. It kills itself because `exit()` would wait for a running decode. */
process.on('disconnect', () => {
  if (home) rmSync(home, { recursive: true, force: true })
  process.kill(process.pid, 'SIGKILL')
})

process.on('message', async (request: CheckerRequest) => reply(await answer(request)))

await warmUp()
// Node writes it at an exit, and a checker is killed.
flushCompileCache()
reply({ kind: 'ready' })

async function answer(request: CheckerRequest): Promise<CheckerReply> {
  try {
    const value = await perform(request)
    return { kind: 'done', value, usage: usage() }
  } catch (error) {
    if (error instanceof MediumRefused) {
      const { code, details, explanation, cause, isOfDecoder } = error
      const reason = describe(cause)
      const fault = { code, details, explanation, reason, isOfDecoder }
      return { kind: 'refused', ...fault, usage: usage() }
    }
    return { kind: 'failed', errno: errnoOf(error), reason: describe(error), usage: usage() }
  }
}

function perform(request: CheckerRequest): Promise<unknown> | unknown {
  switch (request.op) {
    case 'normaliseImage':
      return normaliseImage(request)
    case 'normalisePcmWav':
      return normalisePcmWav(request) ?? null
    case 'repairWav':
      return repairWav(request)
    case 'locateAudio':
      return locateAudio(request)
    case 'measureMp3':
      return measureMp3(request)
    case 'gateWav':
      return gateWav(request)
  }
}

function usage() {
  const { user, system } = process.cpuUsage()
  return { cpuSeconds: (user + system) / 1e6, rssBytes: process.memoryUsage.rss() }
}

function errnoOf(error: unknown): string | undefined {
  const hasErrno = error instanceof Error && 'code' in error && typeof error.code === 'string'
  return hasErrno ? String(error.code) : undefined
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error ?? '')
}

function reply(message: CheckerReply): void {
  process.send?.(message)
}

/** The first image of a process takes 20 ms longer than the next. That time is spent here, before a request waits. */
async function warmUp(): Promise<void> {
  const tiny = { create: { width: 16, height: 16, channels: 3, background: '#808080' } } as const
  const jpeg = await sharp(tiny).jpeg().toBuffer()
  await sharp(jpeg).resize(8).png().toBuffer()
}
