import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { example, type Stack } from '../stack.ts'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../../..')
const framesPerSecond = 25

export function checkFirstVideo(stackOf: () => Stack) {
  it('makes a video that the host gets by its link', async () => {
    const stack = stackOf()
    const inputs = await example()
    const video = await stack.timed('first job', async () => {
      const { jobId } = await stack.client.submit(inputs)
      await stack.client.untilEnded(jobId, 'completed', 240_000)
      return stack.client.download(jobId)
    })
    const found = await probe(video)
    expect(found.text).toMatch(/Video: h264 .*(1280x720|720x1280|960x960)/)
    expect(found.text).toMatch(/Audio: aac/)
    const wanted = secondsOf(inputs.audio) * framesPerSecond
    expect(Math.abs(found.frames - wanted)).toBeLessThanOrEqual(1)
  })
}

/** Length of a WAV. */
function secondsOf(wav: Buffer): number {
  const data = wav.indexOf('data', 12, 'latin1')
  return wav.readUInt32LE(data + 4) / wav.readUInt32LE(28)
}

/** What ffmpeg says of a video, and how many frames it has. */
async function probe(video: Buffer): Promise<{ text: string; frames: number }> {
  const folder = await mkdtemp(join(tmpdir(), 'avatar-video-'))
  try {
    const file = join(folder, 'video.mp4')
    await writeFile(file, video)
    const { stdout } = await run(join(root, '.venv/bin/python'), [
      '-c',
      'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())',
    ])
    const count = ['-map', '0:v', '-c', 'copy', '-f', 'null', '-']
    const { stderr } = await run(stdout.trim(), ['-hide_banner', '-i', file, ...count])
    return { text: stderr, frames: Number([...stderr.matchAll(/frame=\s*(\d+)/g)].at(-1)?.[1]) }
  } finally {
    await rm(folder, { recursive: true })
  }
}
