/**
 * The program of a checker process: handles hostile media for the service, one request at a time,
 * under the limits that its parent started it with. Imports as little as it can, for its start is
 * on the way of the request after a bad one.
 */
import { rmSync } from 'node:fs'
import { fileTypeFromFile } from 'file-type'
import sharp from 'sharp'
import type { CheckerReply, CheckerRequest } from './checker-protocol.ts'
import { MediumRefused } from './medium-refused.ts'
import { normaliseImage } from './normalise-image.ts'
import { normalisePcmWav } from './pcm-wav.ts'

const [, , home] = process.argv

/** Without a parent nobody wants the answer. Killed, for exit() would wait for a decode to end. */
process.on('disconnect', () => {
  if (home) rmSync(home, { recursive: true, force: true })
  process.kill(process.pid, 'SIGKILL')
})

process.on('message', async (request: CheckerRequest) => say(await answer(request)))

await warmUp()
say({ kind: 'ready' })

async function answer(request: CheckerRequest): Promise<CheckerReply> {
  try {
    const value = await perform(request)
    return { kind: 'done', value, usage: usage() }
  } catch (error) {
    if (error instanceof MediumRefused) {
      const { code, details, cause } = error
      return { kind: 'refused', code, details, reason: describe(cause), usage: usage() }
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
    case 'detectFormat':
      return fileTypeFromFile(request.path).then((found) => found?.mime ?? null)
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

function say(reply: CheckerReply): void {
  process.send?.(reply)
}

/** The first image of a process costs 20 ms more than the next: better now than in a request. */
async function warmUp(): Promise<void> {
  const tiny = { create: { width: 16, height: 16, channels: 3, background: '#808080' } } as const
  const jpeg = await sharp(tiny).jpeg().toBuffer()
  await sharp(jpeg).resize(8).png().toBuffer()
}
