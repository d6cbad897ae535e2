import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { FailureCode } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  ffmpeg,
  garbageMp3,
  hasFfmpeg,
  lieAboutFrames,
  makeMp3,
  plain,
  type WavOptions,
  wav,
} from './media-fixtures.ts'
import { createMediaWorld, type MediaWorld } from './media-world.ts'

let world: MediaWorld

beforeAll(async () => {
  world = await createMediaWorld()
  if (hasFfmpeg) await world.checks.start()
})
afterAll(() => world.close())

/** Checks an upload and reads the header of the normalised file back. */
async function accepted(path: string) {
  const checked = await world.checks.checkAudio(path, world.outDir)
  const file = await readFile(checked.path)
  await rm(checked.path)
  expect(checked.bytes).toBe(file.length)
  expect(checked.sha256).toBe(createHash('sha256').update(file).digest('hex'))
  expect(file.toString('latin1', 0, 4)).toBe('RIFF')
  expect(file.readUInt32LE(4)).toBe(file.length - 8)
  expect(file.toString('latin1', 36, 40)).toBe('data')
  expect(file.readUInt32LE(40)).toBe(file.length - 44)
  return { ...checked, file, sampleRate: file.readUInt32LE(24), channels: file.readUInt16LE(22) }
}

const acceptedWav = async (options: WavOptions) => accepted(await world.upload(wav(options)))

async function refused(bytes: Buffer | string, code: FailureCode, name?: string) {
  const path = await world.upload(bytes, name)
  return world.refused(world.checks.checkAudio(path, world.outDir), code)
}

/** An upload that ffmpeg makes. */
async function made(make: (path: string) => Promise<void>): Promise<string> {
  const path = await world.upload('', 'made.bin')
  await make(path)
  return path
}

describe.runIf(hasFfmpeg)('sound that is put together', () => {
  it('ends at its length each time, however long the recordings are', async () => {
    const path = await world.upload(wav({ seconds: 7 }))
    const pieces = [
      { path, startSeconds: 0.5 },
      { path, startSeconds: 7.5 },
    ]
    const folder = await mkdtemp(join(world.outDir, 'composed-'))
    for (let turn = 0; turn < 12; turn++) {
      const { seconds } = await world.checks.compose(pieces, 14.625, folder)
      expect(seconds).toBe(14.625)
    }
    await rm(folder, { recursive: true })
  })
})

describe.runIf(hasFfmpeg)('audio that is accepted', () => {
  it('keeps a plain recording sample by sample', async () => {
    const original = wav({ seconds: 2, sampleRate: 44_100, channels: 2 })
    const { file, ...checked } = await accepted(await world.upload(original))
    expect(checked).toMatchObject({ seconds: 2, sampleRate: 44_100, channels: 2, warnings: [] })
    expect(file.equals(original)).toBe(true)
  })

  it('keeps no chunk but format and samples', async () => {
    const original = wav({ seconds: 1 })
    const list = Buffer.from('LIST\x0a\0\0\0INFOsecret', 'latin1')
    const { file } = await accepted(
      await world.upload(
        Buffer.concat([original.subarray(0, 36), list, original.subarray(36), list]),
      ),
    )
    expect(file.equals(original)).toBe(true)
  })

  it.each([
    ['96 kHz', ['-ar', '96000'], { sampleRate: 48_000, channels: 2 }],
    ['six channels', ['-ac', '6'], { sampleRate: 44_100, channels: 2 }],
    ['24 bits', ['-c:a', 'pcm_s24le'], { sampleRate: 44_100, channels: 2 }],
    ['floating point', ['-c:a', 'pcm_f32le'], { sampleRate: 44_100, channels: 2 }],
    [
      'µ-law at 8 kHz',
      ['-c:a', 'pcm_mulaw', '-ar', '8000', '-ac', '1'],
      { sampleRate: 8_000, channels: 1 },
    ],
    ['MS ADPCM', ['-c:a', 'adpcm_ms'], { sampleRate: 44_100, channels: 2 }],
  ])(
    'turns a WAV file of %s into 16-bit PCM of at most 48 kHz and two channels',
    async (_name, args, layout) => {
      const tone = ['-f', 'lavfi', '-i', 'sine=300:duration=2', '-ac', '2', ...args]
      const checked = await accepted(await made((path) => ffmpeg([...tone, '-f', 'wav', path])))
      expect(checked).toMatchObject(layout)
      expect(checked.seconds).toBeCloseTo(2, 1)
    },
  )

  it('is readable by nobody else', async () => {
    for (const dataBytes of [64_000, 0xffffffff]) {
      const path = await world.upload(wav({ seconds: 2, claims: { dataBytes } }))
      const checked = await world.checks.checkAudio(path, world.outDir)
      expect((await stat(checked.path)).mode & 0o077).toBe(0)
      await rm(checked.path)
    }
  })

  it('decodes MP3 with the rate and the channels it has', async () => {
    const checked = await accepted(await made((path) => makeMp3(path, 3, ['-ac', '1'])))
    expect(checked).toMatchObject({ sampleRate: 44_100, channels: 1, warnings: [] })
    expect(checked.seconds).toBeCloseTo(3, 2)
  })

  it('accepts MP3 behind an ID3 tag with a cover', async () => {
    const cover = await world.upload(await plain(400, 400, '#456').png().toBuffer())
    const song = await made((path) => makeMp3(path, 2))
    const tagged = await made((path) =>
      ffmpeg(['-i', song, '-i', cover, '-map', '0', '-map', '1', '-c', 'copy', '-f', 'mp3', path]),
    )
    expect((await readFile(tagged)).toString('latin1', 0, 3)).toBe('ID3')
    expect((await accepted(tagged)).seconds).toBeCloseTo(2, 2)
  })

  it('measures an MP3 file by its samples, and lets its header be off by 5 % of them', async () => {
    const framesOf = (seconds: number) => Math.round((seconds * 44_100) / 1152)
    for (const claimed of [33.5, 36.5]) {
      const about = await made((path) => makeMp3(path, 35, ['-q:a', '4']))
      await lieAboutFrames(about, framesOf(claimed))
      expect((await accepted(about)).seconds).toBeCloseTo(35, 1)
    }
  })

  it('lets the header of a short MP3 file be off by a second', async () => {
    const short = await made((path) => makeMp3(path, 3))
    await lieAboutFrames(short, Math.round((3.8 * 44_100) / 1152))
    expect((await accepted(short)).seconds).toBeCloseTo(3, 1)
  })

  it.each([
    ['0xFFFFFFFF', 0xffffffff],
    ['0', 0],
  ])('measures a streamed WAV file whose data size is %s', async (_name, dataBytes) => {
    const checked = await acceptedWav({ seconds: 2, claims: { dataBytes } })
    expect(checked).toMatchObject({ seconds: 2 })
  })

  it('takes the claimed length of a WAV file that holds more', async () => {
    expect(await acceptedWav({ seconds: 5, claims: { dataBytes: 32_000 } })).toMatchObject({
      seconds: 1,
    })
  })

  it('accepts what is left of a truncated WAV file', async () => {
    const half = wav({ seconds: 4 }).subarray(0, 44 + 64_000)
    expect(await accepted(await world.upload(half))).toMatchObject({ seconds: 2 })
  })

  it('warns of audio under a second', async () => {
    const { warnings } = await acceptedWav({ seconds: 0.5 })
    expect(warnings).toEqual([{ code: 'AUDIO_SHORT', message: expect.stringContaining('0.5 s') }])
    expect((await acceptedWav({ seconds: 1 })).warnings).toEqual([])
    expect((await acceptedWav({ seconds: 0.2 })).seconds).toBe(0.2)
  })

  it('may be as quiet as a little above −60 dBFS', async () => {
    expect((await acceptedWav({ seconds: 1, amplitude: 33 / 32_768 })).seconds).toBe(1)
  })

  it('may be exactly five minutes long, as WAV and as 48 kHz stereo MP3', async () => {
    expect((await acceptedWav({ seconds: 300, sampleRate: 8_000 })).seconds).toBe(300)
    const mp3 = await made((path) =>
      makeMp3(path, 300, ['-ar', '48000', '-ac', '2', '-b:a', '64k']),
    )
    const checked = await accepted(mp3)
    expect(checked).toMatchObject({ seconds: 300, sampleRate: 48_000, channels: 2 })
  })

  it('needs no particular name', async () => {
    const path = await world.upload(wav({ seconds: 1 }), '-i %d voice.mp3')
    expect((await accepted(path)).seconds).toBe(1)
    const streamed = wav({ seconds: 1, claims: { dataBytes: 0xffffffff } })
    expect((await accepted(await world.upload(streamed, '-y %03d:voice.mp4'))).seconds).toBe(1)
  })
})

describe.runIf(hasFfmpeg)('audio of the wrong length is refused', () => {
  it('one sample more than five minutes, and five minutes and a second', async () => {
    for (const seconds of [300 + 1 / 8_000, 301]) {
      const error = await refused(wav({ seconds, sampleRate: 8_000 }), 'AUDIO_TOO_LONG')
      expect(error.details).toMatchObject({ max_seconds: 300 })
    }
  })

  it('an MP3 file whose header claims more than 5 % too little or too much', async () => {
    // 33 s and 37 s.
    for (const frames of [1_263, 1_417]) {
      const lying = await made((path) => makeMp3(path, 35, ['-q:a', '4']))
      await lieAboutFrames(lying, frames)
      const check = world.checks.checkAudio(lying, world.outDir)
      const error = await world.refused(check, 'AUDIO_UNREADABLE')
      expect(error.details).toMatchObject({
        header_seconds: expect.closeTo((frames * 1152) / 44_100),
      })
    }
  })

  it('five minutes and a second of MP3 whose header claims five seconds', async () => {
    const long = await made((path) => makeMp3(path, 301, ['-ac', '1', '-q:a', '9']))
    await lieAboutFrames(long, 193)
    await world.refused(world.checks.checkAudio(long, world.outDir), 'AUDIO_TOO_LONG')
  })

  it.each([
    ['no samples', { seconds: 0 }],
    ['0.1 s', { seconds: 0.1 }],
    ['a sample less than 0.2 s', { seconds: 0.2 - 1 / 16_000 }],
    ['digital silence', { seconds: 2, amplitude: 0 }],
    ['a hiss below −60 dBFS', { seconds: 2, amplitude: 32 / 32_768 }],
  ])('%s', async (_name, options) => {
    const error = await refused(wav(options), 'AUDIO_EMPTY')
    expect(error.details).toMatchObject({ min_seconds: 0.2 })
  })

  it('silence as MP3', async () => {
    const silent = await made((path) =>
      ffmpeg(['-f', 'lavfi', '-i', 'anullsrc=d=3', '-c:a', 'libmp3lame', '-f', 'mp3', path]),
    )
    await world.refused(world.checks.checkAudio(silent, world.outDir), 'AUDIO_EMPTY')
  })
})

describe.runIf(hasFfmpeg)('audio that cannot be decoded is refused', () => {
  it.each([
    ['a sample rate of 0', () => wav({ seconds: 1, claims: { sampleRate: 0 } })],
    ['a bare RIFF header', () => wav({ seconds: 1 }).subarray(0, 12)],
    ['a header and no data chunk', () => wav({ seconds: 1 }).subarray(0, 36)],
    ['AAC in a WAV file', () => wav({ seconds: 1, claims: { format: 0xff } })],
    ['an MP3 frame with garbage behind it', garbageMp3],
    [
      'a truncated ID3 tag',
      () => Buffer.from('ID3\x04\0\0\0\0\x7f\x7f'.padEnd(1_000, 'x'), 'latin1'),
    ],
    ['an empty file', () => Buffer.alloc(0)],
  ])('%s', async (_name, make) => {
    await refused(make(), 'AUDIO_UNREADABLE')
  })
})

describe.runIf(hasFfmpeg)('what is not WAV or MP3 is refused', () => {
  it('an intact WAV file of a codec that is not decoded', async () => {
    const tone = ['-f', 'lavfi', '-i', 'sine=d=2', '-ar', '48000', '-c:a', 'ac3', '-f', 'wav']
    const ac3 = await made((path) => ffmpeg([...tone, path]))
    await world.refused(world.checks.checkAudio(ac3, world.outDir), 'AUDIO_UNREADABLE')
  })

  it('a playlist renamed to .mp3, without opening what it names', async () => {
    const victim = await world.upload(wav({ seconds: 2 }), 'victim.wav')
    const playlist = `ffconcat version 1.0\nfile '${victim}'\n`
    const error = await refused(playlist, 'INVALID_AUDIO_FORMAT', 'voice.mp3')
    expect(error.details).toEqual({ found: 'unknown', allowed: ['audio/wav', 'audio/mpeg'] })
  })

  it.each([
    ['a video', 'video/mp4', ['-f', 'lavfi', '-i', 'testsrc=d=1:s=64x64', '-f', 'mp4']],
    [
      'an AVI, which is RIFF too',
      'video/vnd.avi',
      ['-f', 'lavfi', '-i', 'testsrc=d=1:s=64x64', '-f', 'avi'],
    ],
    ['AAC', 'audio/aac', ['-f', 'lavfi', '-i', 'sine=d=1', '-f', 'adts']],
    ['FLAC', 'audio/flac', ['-f', 'lavfi', '-i', 'sine=d=1', '-f', 'flac']],
  ])('%s', async (_name, found, args) => {
    const bytes = await readFile(await made((path) => ffmpeg([...args, path])))
    const error = await refused(bytes, 'INVALID_AUDIO_FORMAT', 'voice.mp3')
    expect(error.details).toMatchObject({ found })
  })

  it('an image', async () => {
    const error = await refused(
      await plain(200, 200, '#456').png().toBuffer(),
      'INVALID_AUDIO_FORMAT',
    )
    expect(error.details).toMatchObject({ found: 'image/png' })
  })
})

it.runIf(hasFfmpeg)('gives up on a WAV file of two gigahertz within its limits', async () => {
  const absurd = wav({ seconds: 100, claims: { sampleRate: 2_147_483_000 } })
  const path = await world.upload(absurd)
  await expect(world.checks.checkAudio(path, world.outDir)).rejects.toMatchObject({
    code: expect.stringMatching(/^AUDIO_(EMPTY|UNREADABLE)$/),
  })
})
