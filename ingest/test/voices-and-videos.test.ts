import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type JobRecord, jobKey } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ffmpegPath } from './media-fixtures.ts'
import { portrait, useRestWorld } from './rest-world.ts'

const run = promisify(execFile)
const world = useRestWorld()
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-voices-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** What ffmpeg makes of a synthetic input. */
async function made(name: string, ...args: string[]): Promise<Buffer> {
  const path = join(folder, name)
  await run(ffmpegPath, ['-nostdin', '-v', 'error', '-y', '-f', 'lavfi', ...args, path])
  return readFile(path)
}

/** A tone of full scale, or as loud as said. */
const tone = (seconds: number, { hertz = 440, volume = 1, rate = 16_000 } = {}) =>
  made(
    `tone-${seconds}-${hertz}-${volume}-${rate}.wav`,
    ...[
      '-i',
      `aevalsrc=${volume}*sin(2*PI*${hertz}*t):d=${seconds}:s=${rate}`,
      '-c:a',
      'pcm_s16le',
    ],
  )
const picture = (name: string, seconds: number, size = '320x240', ...more: string[]) =>
  made(name, '-i', `testsrc2=d=${seconds}:s=${size}:r=30`, ...more)

type Files = Record<string, Buffer | undefined>

async function submit(files: Files, fields: Record<string, string> = {}) {
  const form = new FormData()
  for (const [name, content] of Object.entries(files))
    if (content) form.append(name, new Blob([content as never]), name)
  for (const [name, value] of Object.entries(fields)) form.append(name, value)
  const answer = await world.call('/generate', { method: 'POST', body: form })
  const { data, error } = answer.body as never as {
    data?: { job_id: string }
    error?: { code: string; message: string; details: { field?: string } }
  }
  const key = jobKey(world.mine.owner, data?.job_id ?? '-')
  const job = data && (await world.jobs.find(key))?.value
  return { status: answer.status, error, job: job as JobRecord }
}

/** A stored recording: its samples of one channel, from -1 to 1. */
async function samplesOf(key: string) {
  const path = join(folder, 'stored.wav')
  await world.objects.getFile(key, path, 2 ** 28)
  const wav = await readFile(path)
  const [channels, rate] = [wav.readUInt16LE(22), wav.readUInt32LE(24)]
  const count = (wav.length - 44) / 2 / channels
  const samples = Array.from({ length: count }, (_, at) => {
    return wav.readInt16LE(44 + at * channels * 2) / 32_768
  })
  const peak = (from: number, to: number) =>
    samples
      .slice(Math.round(from * rate), Math.round(to * rate))
      .reduce((most, sample) => Math.max(most, Math.abs(sample)), 0)
  return { rate, samples, seconds: count / rate, peak }
}

describe('silence before and after', () => {
  it('is in the delivered sound, and the voice is a file of its own that begins later', async () => {
    const audio = await tone(1)
    const fields = { lead_seconds: '2', tail_seconds: '0.5' }
    const { job } = await submit({ image: portrait, audio }, fields)
    expect(job).toMatchObject({ audio: { seconds: 3.5 }, frames: 88 })
    expect(job.voices).toMatchObject([{ startSeconds: 2 }])
    const delivered = await samplesOf(job.audio.key)
    expect([delivered.rate, delivered.seconds]).toEqual([16_000, 3.5])
    expect(delivered.peak(0, 1.999)).toBe(0)
    expect(delivered.peak(3.001, 3.5)).toBe(0)
    const own = await samplesOf(job.voices?.[0]?.key ?? '')
    // The customer's samples, to the bit.
    expect(delivered.samples.slice(32_000, 48_000)).toEqual(own.samples)
  })
})

describe('two voices', () => {
  it('together are summed, as long as the longer one, and kept under full scale', async () => {
    const [audio, audio2] = [await tone(1), await tone(2, { hertz: 660, rate: 44_100 })]
    const { job } = await submit({ image: portrait, audio, audio2 })
    expect(job).toMatchObject({ audio: { seconds: 2 }, frames: 50 })
    expect(job.voices).toMatchObject([{ startSeconds: 0 }, { startSeconds: 0 }])
    const { rate, peak } = await samplesOf(job.audio.key)
    expect(rate).toBe(48_000)
    expect(peak(0.2, 0.9)).toBeGreaterThan(0.9)
    expect(peak(0, 2)).toBeLessThanOrEqual(1)
    const quiet = await tone(1, { volume: 0.25 })
    const sum = await submit({ image: portrait, audio: quiet, audio2: quiet })
    expect((await samplesOf(sum.job.audio.key)).peak(0.2, 0.8)).toBeCloseTo(0.5, 1)
  })

  it('in turn are joined: the second begins where the first ends', async () => {
    const [audio, audio2] = [await tone(1), await tone(0.5, { volume: 0.5 })]
    const fields = { speaking: 'in_turn', lead_seconds: '1' }
    const { job } = await submit({ image: portrait, audio, audio2 }, fields)
    expect(job.audio.seconds).toBeCloseTo(2.5, 3)
    expect(job.voices?.map(({ startSeconds }) => startSeconds)).toEqual([1, 2])
    const { peak } = await samplesOf(job.audio.key)
    expect(peak(0, 0.99)).toBe(0)
    expect(peak(2.1, 2.4)).toBeCloseTo(0.5, 1)
  })

  it('of one recording are gated by turns, and the recording is delivered as it is', async () => {
    const audio = await tone(2)
    const turns = JSON.stringify([
      { speaker: 0, start: 0, end: 0.8 },
      { speaker: 1, start: 1, end: 2 },
    ])
    const { job } = await submit({ image: portrait, audio }, { turns })
    expect(job.how).toEqual({ speaking: 'turns' })
    const [first, second] = await Promise.all([samplesOf(job.voices?.[0]?.key ?? '')]).then(
      async ([one]) => [one, await samplesOf(job.voices?.[1]?.key ?? '')] as const,
    )
    expect([first?.peak(0.82, 2), second.peak(0, 0.98)]).toEqual([0, 0])
    expect(first?.peak(0.1, 0.7)).toBeGreaterThan(0.9)
    expect(second.peak(1.1, 1.9)).toBeGreaterThan(0.9)
    const late = JSON.stringify([{ speaker: 0, start: 2, end: 3 }])
    const refused = await submit({ image: portrait, audio }, { turns: late })
    expect(refused.error?.details.field).toBe('turns')
  })

  it('may not be longer together than one may be', async () => {
    const audio = await tone(151, { rate: 8_000 })
    const refused = await submit({ image: portrait, audio, audio2: audio })
    expect(refused).toMatchObject({ status: 400, error: { code: 'AUDIO_TOO_LONG' } })
  })
})

it('a voice drives the lips while the audio is delivered, if both are equally long', async () => {
  const [audio, voice] = [await tone(1), await tone(1.1, { hertz: 220 })]
  const { job } = await submit({ image: portrait, audio, voice })
  expect(job.audio.seconds).toBe(1)
  expect(job.voices).toHaveLength(1)
  expect(job.voices?.[0]?.key).not.toBe(job.audio.key)
  const longer = await tone(1.5)
  const refused = await submit({ image: portrait, audio, voice: longer })
  expect(refused).toMatchObject({ status: 400, error: { details: { field: 'voice' } } })
})

describe('a source video', () => {
  it.each([
    ['MP4', 'video.mp4', ['-c:v', 'libx264', '-pix_fmt', 'yuv420p']],
    ['MOV', 'video.mov', ['-c:v', 'mpeg4']],
    ['WebM', 'video.webm', ['-c:v', 'libvpx', '-b:v', '300k']],
  ])('of kind %s becomes 25 frames a second, and its first frame the image', async (...kind) => {
    const [, name, encoder] = kind
    const [video, audio] = [await picture(name, 2, '320x240', ...encoder), await tone(3)]
    const { job, error } = await submit({ video, audio }, { aspect: 'auto' })
    expect(error).toBeUndefined()
    expect(job).toMatchObject({
      source: { width: 320, height: 240, seconds: 2 },
      image: { width: 320, height: 240 },
      ...{ frames: 75, delivery: { width: 1120, height: 896 } },
    })
    expect(job).not.toHaveProperty('voices')
    const path = join(folder, 'source.mp4')
    await world.objects.getFile(job.source?.key ?? '', path, 2 ** 28)
    const { stderr } = await run(ffmpegPath, ['-i', path]).catch((told) => told)
    expect(stderr).toContain('25 fps')
    expect(stderr).not.toContain('Audio:')
  })

  it('decides the length where it is asked to', async () => {
    const [video, audio] = [await picture('short.mp4', 1), await tone(2)]
    const shorter = await submit({ video, audio }, { video_length: 'shorter' })
    expect(shorter.job).toMatchObject({ frames: 25, audio: { seconds: 1 } })
    const long = await picture('long.mp4', 3)
    const whole = await submit({ video: long, audio }, { video_length: 'video' })
    expect(whole.job).toMatchObject({ frames: 75, audio: { seconds: 3 } })
    expect((await samplesOf(whole.job.audio.key)).peak(2.01, 3)).toBe(0)
  })

  it('is refused with the reason, and leaves nothing behind', async () => {
    const audio = await tone(1)
    const before = await world.traces()
    const whole = await picture('whole.mp4', 1)
    const cut = whole.subarray(0, 600)
    const [narrow, gif] = [
      await picture('narrow.mp4', 1, '320x96'),
      Buffer.from('GIF89a'.repeat(9)),
    ]
    for (const [video, code] of [
      [cut, 'VIDEO_UNREADABLE'],
      [gif, 'INVALID_VIDEO_FORMAT'],
      [narrow, 'INVALID_VIDEO_FORMAT'],
      [await tone(1), 'INVALID_VIDEO_FORMAT'],
    ] as const) {
      const { status, error } = await submit({ video, audio })
      expect({ status, code: error?.code }).toEqual({ status: 400, code })
    }
    const both = await submit({ image: portrait, video: whole, audio })
    expect(both.error?.details.field).toBe('video')
    const none = await submit({ audio })
    expect(none.error?.code).toBe('IMAGE_MISSING')
    const after = await world.traces()
    expect([after.stored, after.records]).toEqual([before.stored, before.records])
  })

  it('cannot open other files: a playlist in disguise is no video', async () => {
    const audio = await tone(1)
    const secret = join(folder, 'secret.mp4')
    await writeFile(secret, await picture('secret-source.mp4', 1))
    const playlist = Buffer.from(`ffconcat version 1.0\nfile '${secret}'\n`)
    const { error } = await submit({ video: playlist, audio })
    expect(error?.code).toBe('INVALID_VIDEO_FORMAT')
  })
})
