import { execFile } from 'node:child_process'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ffmpeg, ffmpegPath, hasFfmpeg, id3, lieAboutFrames, makeMp3 } from './media-fixtures.ts'
import { createMediaWorld, type MediaWorld } from './media-world.ts'

let world: MediaWorld
/** Three seconds: with a header that claims its length, without one, and at another rate. */
let mp3: Buffer
let bareMp3: Buffer
let otherMp3: Buffer

beforeAll(async () => {
  world = await createMediaWorld()
  if (!hasFfmpeg) return
  await world.checks.start()
  const [mono, untagged] = [
    ['-ac', '1'],
    ['-id3v2_version', '0'],
  ]
  mp3 = await madeBy((path) => makeMp3(path, 3, [...mono, ...untagged]))
  bareMp3 = await madeBy((path) => makeMp3(path, 3, [...mono, ...untagged, '-write_xing', '0']))
  otherMp3 = await madeBy((path) => makeMp3(path, 3, ['-ac', '2', '-ar', '22050', ...untagged]))
})
afterAll(() => world.close())

async function madeBy(make: (path: string) => Promise<void>): Promise<Buffer> {
  const path = await world.upload('', 'made.bin')
  await make(path)
  return readFile(path)
}

const tone = (...args: string[]) =>
  madeBy((path) => ffmpeg(['-f', 'lavfi', '-i', 'sine=300:d=3', ...args, path]))

/** Accepted: its length, the codes of its warnings, and its samples. */
async function accepted(bytes: Buffer) {
  const checked = await world.checks.checkAudio(await world.upload(bytes), world.outDir)
  const file = await readFile(checked.path)
  await rm(checked.path)
  const samples = new Int16Array(
    file.buffer.slice(file.byteOffset + 44, file.byteOffset + file.length),
  )
  for (const { message } of checked.warnings) expect(message.length).toBeLessThan(400)
  return { seconds: checked.seconds, codes: checked.warnings.map(({ code }) => code), samples }
}

async function refused(
  bytes: Buffer,
  code: 'INVALID_AUDIO_FORMAT' | 'AUDIO_UNREADABLE' | 'AUDIO_EMPTY',
) {
  return world.refused(world.checks.checkAudio(await world.upload(bytes), world.outDir), code)
}

/** `toEqual` compares one sample after the other, which takes seconds. */
function expectSame(samples: Int16Array, expected: Int16Array) {
  const bytes = ({ buffer, byteOffset, byteLength }: Int16Array) =>
    Buffer.from(buffer, byteOffset, byteLength)
  expect(bytes(samples).equals(bytes(expected))).toBe(true)
}

/** Runs the line that a refusal prints, on the file that was refused, and returns what it writes. */
async function converted(bytes: Buffer, line: unknown): Promise<Buffer> {
  const folder = await world.upload('', 'folder').then((path) => path.replace(/[^/]*$/, ''))
  const words =
    String(line)
      .match(/"[^"]*"|\S+/g)
      ?.map((word) => word.replaceAll('"', '')) ?? []
  const [program, ...args] = words
  expect(program).toBe('ffmpeg')
  await writeFile(join(folder, args[args.lastIndexOf('-i') + 1] ?? ''), bytes)
  await promisify(execFile)(ffmpegPath, ['-nostdin', '-y', ...args], { cwd: folder })
  return readFile(join(folder, args.at(-1) ?? ''))
}

function chunk(name: string, content: Buffer, isPadded = true): Buffer {
  const header = Buffer.alloc(8)
  header.write(name, 'latin1')
  header.writeUInt32LE(content.length, 4)
  return Buffer.concat([header, content, Buffer.alloc(isPadded ? content.length % 2 : 0)])
}

type Layout = { tag?: number; channels?: number; bits?: number; mask?: number; rate?: number }

/** A WAV file of any samples: 16-bit PCM of one channel at 16 kHz unless told otherwise. */
function wavOf(samples: ArrayBufferView, layout: Layout = {}, before: Buffer[] = []): Buffer {
  const { tag = 1, channels = 1, bits = 16, mask, rate = 16_000 } = layout
  const format = Buffer.alloc(mask === undefined ? 16 : 40)
  format.writeUInt16LE(mask === undefined ? tag : 0xfffe, 0)
  format.writeUInt16LE(channels, 2)
  format.writeUInt32LE(rate, 4)
  format.writeUInt32LE((rate * channels * bits) / 8, 8)
  format.writeUInt16LE((channels * bits) / 8, 12)
  format.writeUInt16LE(bits, 14)
  if (mask !== undefined) {
    format.writeUInt16LE(22, 16)
    format.writeUInt16LE(bits, 18)
    format.writeUInt32LE(mask, 20)
    Buffer.from('0000000000001000800000aa00389b71', 'hex').copy(format, 24)
    format.writeUInt16LE(tag, 24)
  }
  const data = Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength)
  const body = Buffer.concat([
    Buffer.from('WAVE'),
    ...before,
    chunk('fmt ', format),
    chunk('data', data),
  ])
  return chunk('RIFF', body)
}

/** Two seconds of a square wave, for each channel with a factor of its own. */
function square(...factors: number[]): Float32Array {
  const samples = new Float32Array(32_000 * factors.length)
  return samples.map((_, at) => {
    const sign = Math.floor(at / factors.length / 80) % 2 === 0 ? 0.5 : -0.5
    return sign * (factors[at % factors.length] ?? 0)
  })
}

const pcm16 = (samples: Float32Array) => Int16Array.from(samples, (sample) => sample * 32_767)
function pcm24(samples: Float32Array): Buffer {
  const bytes = Buffer.alloc(3 * samples.length)
  samples.forEach((sample, at) => {
    bytes.writeIntLE(Math.round(sample * 8_388_607), 3 * at, 3)
  })
  return bytes
}

const peakOf = (samples: Int16Array) =>
  samples.reduce((peak, one) => Math.max(peak, Math.abs(one)), 0)

function apeTag(): Buffer {
  const tag = Buffer.alloc(32 + 40 + 32)
  tag.write('APETAGEX', 0, 'latin1')
  tag.writeUInt32LE(2_000, 8)
  tag.writeUInt32LE(40 + 32, 12)
  tag.writeUInt32LE(0xa0000000, 20)
  tag.write('APETAGEX', 72, 'latin1')
  return tag
}

/** A ZIP archive of one file that is stored as it is, up to its directory. */
function zipOf(file: Buffer): Buffer {
  const header = Buffer.alloc(30)
  header.write('PK\x03\x04', 'latin1')
  header.writeUInt16LE(20, 4)
  header.writeUInt32LE(file.length, 18)
  header.writeUInt32LE(file.length, 22)
  header.writeUInt16LE(5, 26)
  return Buffer.concat([header, Buffer.from('v.wav'), file])
}

function claimedBits(bits: number): Buffer {
  const file = wavOf(pcm16(square(1)))
  file.writeUInt16LE(bits, 34)
  return file
}

const hugeFloats = () => Float32Array.from(square(1), (sample) => sample * 1e37)

const html = Buffer.from(`<html><body>502 Bad Gateway${' '.repeat(3_000)}</body></html>\n`)
/** A recorder that went on in a second chunk. */
const twice = (samples: Int16Array) => {
  const file = wavOf(samples)
  const both = Buffer.concat([file, file.subarray(36)])
  both.writeUInt32LE(both.length - 8, 4)
  return both
}
const claim = (file: Buffer, dataBytes: number) => {
  const copy = Buffer.from(file)
  copy.writeUInt32LE(dataBytes, 40)
  return copy
}

describe.runIf(hasFfmpeg)('what stands in front of the sound is skipped', () => {
  it.each<[string, () => Buffer[], string[]]>([
    ['two tags', () => [id3(200), id3(300), bareMp3], []],
    ['a tag with a footer', () => [id3(200, 200, 0x10), bareMp3], []],
    ['an APE tag', () => [apeTag(), bareMp3], []],
    ['an ID3 tag and an APE tag', () => [id3(200), apeTag(), bareMp3], []],
    [
      'ten bytes behind a tag',
      () => [id3(200), Buffer.from('0123456789'), bareMp3],
      ['AUDIO_JUNK_SKIPPED'],
    ],
    ['600 bytes of 0xFF', () => [id3(200), Buffer.alloc(600, 0xff), bareMp3], []],
    ['40 kB of zeros', () => [Buffer.alloc(40_000), bareMp3], []],
    ['100 kB of zeros', () => [Buffer.alloc(100_000), bareMp3], []],
    ['a tag that claims less than it has', () => [id3(500, 100), bareMp3], []],
    ['a tag that claims more than it has', () => [id3(200, 5_000), bareMp3], []],
    ['a tag that claims more than the file has', () => [id3(200, 2_000_000), bareMp3], []],
    ['a line break', () => [Buffer.from('\r\n'), mp3], ['AUDIO_JUNK_SKIPPED']],
    ['an error page', () => [html, mp3], ['AUDIO_JUNK_SKIPPED']],
  ])('of MP3: %s', async (_name, make, codes) => {
    const found = await accepted(Buffer.concat(make()))
    expect(found.codes).toEqual(codes)
    expect(found.seconds).toBeCloseTo(3, 0)
    expect(found.seconds).toBeGreaterThanOrEqual(3)
  })

  it.each<[string, () => Buffer[], string[]]>([
    ['a tag', () => [id3(200)], []],
    ['a tag that claims more than the file has', () => [id3(200, 2_000_000)], []],
    ['100 kB of zeros', () => [Buffer.alloc(100_000)], []],
    ['a byte order mark', () => [Buffer.from([0xef, 0xbb, 0xbf])], ['AUDIO_JUNK_SKIPPED']],
    ['an error page', () => [html], ['AUDIO_JUNK_SKIPPED']],
  ])('of WAV: %s', async (_name, make, codes) => {
    const voice = pcm16(square(1))
    const found = await accepted(Buffer.concat([...make(), wavOf(voice)]))
    expect(found.codes).toEqual(codes)
    expectSame(found.samples, voice)
  })
})

describe.runIf(hasFfmpeg)('no sound is lost silently', () => {
  it.each([0, 0xffffffff])(
    'when a header says %i frames, which means that the encoder did not know',
    async (frames) => {
      const path = await world.upload(mp3, 'unknown.mp3')
      await lieAboutFrames(path, frames)
      expect(await accepted(await readFile(path))).toMatchObject({
        codes: [],
        seconds: expect.closeTo(3, 1),
      })
    },
  )

  it.each<[string, () => Buffer[], number]>([
    ['three MP3 files', () => [mp3, mp3, mp3], 9],
    ['MP3 files with tags', () => [id3(50), mp3, id3(50), mp3], 6],
    ['an MP3 file with a length and one without', () => [mp3, id3(20), bareMp3], 6],
    ['MP3 files of two rates and layouts', () => [mp3, otherMp3], 6],
  ])('when somebody glued %s together', async (_name, make, seconds) => {
    const found = await accepted(Buffer.concat(make()))
    expect(found.codes).toEqual(['AUDIO_JOINED'])
    expect(found.seconds).toBeCloseTo(seconds, 0)
  })

  const voice = pcm16(square(1))
  it.each<[string, Buffer[]]>([
    ['whole', [wavOf(voice), wavOf(voice), wavOf(voice)]],
    ['streamed', [claim(wavOf(voice), 0xffffffff), claim(wavOf(voice), 0), wavOf(voice)]],
    [
      'with chunks behind their samples',
      [wavOf(voice), chunk('LIST', Buffer.alloc(9)), wavOf(voice), wavOf(voice)],
    ],
    ['with a line break in between', [wavOf(voice), Buffer.from('\n'), wavOf(voice), wavOf(voice)]],
  ])('when somebody glued WAV files together: %s', async (_name, files) => {
    const found = await accepted(Buffer.concat(files))
    expect(found.codes).toEqual(['AUDIO_JOINED'])
    expectSame(found.samples, Int16Array.from([...voice, ...voice, ...voice]))
  })

  it('when their formats differ: the refusal prints a line that joins them', async () => {
    const glued = Buffer.concat([
      wavOf(voice),
      wavOf(pcm16(square(1, 1)), { channels: 2, rate: 8_000 }),
    ])
    const { message, details } = await refused(glued, 'AUDIO_UNREADABLE')
    expect(message).toContain('2 WAV files of different formats')
    expect(await accepted(await converted(glued, details['convert']))).toMatchObject({ seconds: 6 })
  })

  it.each<[string, Buffer, string, number]>([
    [
      'holds less than its header claims',
      wavOf(voice).subarray(0, 44 + 40_000),
      'AUDIO_TRUNCATED',
      1.25,
    ],
    ['holds more', claim(wavOf(voice), 32_000), 'AUDIO_LONGER_THAN_HEADER', 1],
    ['holds its samples in two chunks', twice(voice), 'AUDIO_LONGER_THAN_HEADER', 2],
  ])('when a WAV file %s', async (_name, bytes, code, seconds) => {
    expect(await accepted(bytes)).toMatchObject({ codes: [code], seconds })
  })

  it('when a WAV file stands behind an MP3 file: the refusal prints a line that joins them', async () => {
    for (const start of [mp3, bareMp3]) {
      const glued = Buffer.concat([start, wavOf(voice)])
      const { message, details } = await refused(glued, 'AUDIO_UNREADABLE')
      expect(message).toContain('a WAV file')
      const joined = await accepted(await converted(glued, details['convert']))
      expect(joined.seconds).toBeCloseTo(5, 0)
    }
  })

  it('when an MP3 file is damaged in the middle', async () => {
    const damaged = Buffer.from(bareMp3)
    damaged.fill(0, Math.round(damaged.length / 3), Math.round(damaged.length / 2))
    const { seconds, codes } = await accepted(damaged)
    expect(codes).toEqual(['AUDIO_DAMAGED'])
    expect(seconds).toBeCloseTo(2.5, 0)
  })

  it('and there is no warning where tags are all that stands behind the sound', async () => {
    const old = Buffer.alloc(128)
    old.write('TAG', 'latin1')
    const lyrics = Buffer.from(`LYRICSBEGIN${'x'.repeat(3_000)}LYRICS200`)
    for (const behind of [[old], [apeTag(), old], [lyrics, old], [id3(500)]])
      expect((await accepted(Buffer.concat([mp3, ...behind]))).codes).toEqual([])
  })

  it('when an MP3 file is cut off: the refusal says so and prints a line that keeps the rest', async () => {
    const cut = mp3.subarray(0, mp3.length / 3)
    const { message, details } = await refused(cut, 'AUDIO_UNREADABLE')
    expect(message).toContain('says 3.0')
    expect((await accepted(await converted(cut, details['convert']))).seconds).toBeCloseTo(1, 0)
  })
})

describe.runIf(hasFfmpeg)('a WAV file is accepted', () => {
  const voice = pcm16(square(1))

  it.each<[string, Buffer[]]>([
    ['an odd chunk without its pad', [chunk('LIST', Buffer.from('INFOabc'), false)]],
    ['an odd chunk with its pad', [chunk('LIST', Buffer.from('INFOabc'))]],
    [
      'JUNK, bext, fact and id3 chunks',
      ['JUNK', 'bext', 'fact', 'id3 '].map((name) => chunk(name, Buffer.alloc(28))),
    ],
  ])('with %s, sample by sample', async (_name, before) => {
    const { samples, codes } = await accepted(wavOf(voice, {}, before))
    expect(codes).toEqual([])
    expectSame(samples, voice)
  })

  it.each(['RF64', 'BW64'])('as %s, sample by sample', async (name) => {
    const sizes = Buffer.alloc(28)
    sizes.writeBigUInt64LE(BigInt(voice.byteLength), 8)
    const plain = wavOf(voice, {}, [chunk('ds64', sizes)])
    plain.write(name, 'latin1')
    plain.writeUInt32LE(0xffffffff, plain.indexOf('data') + 4)
    const { samples, codes } = await accepted(plain)
    expect(codes).toEqual([])
    expectSame(samples, voice)
  })

  it.each<[string, Layout, number]>([
    ['one channel for the low tones', { mask: 8 }, 1],
    ['one channel on the left', { mask: 1 }, 1],
    ['two channels, centre and low tones', { mask: 12, channels: 2 }, 2],
    ['two channels for three loudspeakers', { mask: 7, channels: 2 }, 2],
    ['two channels for none', { mask: 0, channels: 2 }, 2],
  ])('with %s, and loses none of them', async (_name, layout, channels) => {
    for (const bits of [16, 24]) {
      const sound = square(...Array(channels).fill(1))
      const bytes = wavOf(bits === 16 ? pcm16(sound) : pcm24(sound), { ...layout, bits })
      const { samples, codes } = await accepted(bytes)
      expect(codes).toEqual([])
      expect(samples).toHaveLength(32_000 * channels)
      expect(peakOf(samples.slice(1_000))).toBeGreaterThan(16_000)
    }
  })

  it('with 24 valid bits of 32', async () => {
    const samples = Int32Array.from(square(1), (sample) => Math.round(sample * 2 ** 31))
    const bytes = wavOf(samples, { bits: 32, mask: 4 })
    bytes.writeUInt16LE(24, bytes.indexOf('fmt ') + 8 + 18)
    const found = await accepted(bytes)
    expect(found).toMatchObject({ codes: [], seconds: 2 })
    expect(peakOf(found.samples)).toBeCloseTo(16_384, -2)
  })

  it.each<[string, Layout, number[]]>([
    ['9 channels', { channels: 9 }, Array(9).fill(1)],
    ['60 channels', { channels: 60 }, Array(60).fill(1)],
    ['5 channels for 2 loudspeakers', { channels: 5, mask: 3 }, [1, 1, 1, 1, 1]],
  ])('with %s, which are mixed evenly', async (_name, layout, factors) => {
    const { samples, codes } = await accepted(wavOf(pcm16(square(...factors)), layout))
    expect(codes).toEqual(['AUDIO_MIXED_DOWN'])
    expect(peakOf(samples.slice(1_000))).toBeGreaterThan(16_000)
  })

  it('with six channels whose voice is on that for low tones', async () => {
    const { samples } = await accepted(wavOf(pcm16(square(0, 0, 0, 1, 0, 0)), { channels: 6 }))
    expect(peakOf(samples)).toBeGreaterThan(1_000)
  })

  it.each([
    ...[
      'pcm_u8',
      'pcm_s24le',
      'pcm_s32le',
      'pcm_s64le',
      'pcm_f32le',
      'pcm_f64le',
      'pcm_alaw',
      'pcm_mulaw',
    ],
    ...['adpcm_ms', 'adpcm_ima_wav', 'adpcm_yamaha', 'g726', 'libmp3lame'],
  ])('of %s', async (codec) => {
    const rate = codec === 'g726' ? '8000' : '16000'
    const found = await accepted(await tone('-ac', '1', '-ar', rate, '-c:a', codec, '-f', 'wav'))
    expect(found.codes).toEqual([])
    expect(found.seconds).toBeCloseTo(3, 0)
  })
})

describe.runIf(hasFfmpeg)('samples that are no sound', () => {
  const floats = (change: (samples: Float32Array) => void = () => undefined) => {
    const samples = square(1)
    change(samples)
    return wavOf(samples, { tag: 3, bits: 32 })
  }

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e30, -40_000])(
    'become silence: one of %d',
    async (sample) => {
      const { samples, codes } = await accepted(floats((all) => all.fill(sample, 16_040, 16_041)))
      expect(codes).toEqual(['AUDIO_SAMPLES_REPAIRED'])
      expect(samples[16_040]).toBe(0)
      expect(peakOf(samples)).toBeLessThan(17_000)
    },
  )

  it('become silence in 64 bits too', async () => {
    const samples = Float64Array.from(square(1))
    samples[100] = Number.NaN
    const { codes } = await accepted(wavOf(samples, { tag: 3, bits: 64 }))
    expect(codes).toEqual(['AUDIO_SAMPLES_REPAIRED'])
  })

  it.each([4, 32_768, 2 ** 31])(
    'are scaled down where all are %d times too loud',
    async (factor) => {
      const { samples, codes } = await accepted(
        floats((all) => all.set(all.map((one) => one * factor))),
      )
      expect(codes).toEqual(['AUDIO_SCALED'])
      expect(peakOf(samples)).toBeGreaterThan(32_700)
    },
  )

  it('are not denormal ones, nor a few beyond full scale, which clip as ever', async () => {
    const { samples, codes } = await accepted(
      floats((all) => {
        all.fill(1e-40, 0, 100)
        all.fill(1.5, 1_000, 1_020)
      }),
    )
    expect(codes).toEqual([])
    expect(samples[1_010]).toBe(32_767)
  })
})

describe.runIf(hasFfmpeg)('what the ear hears', () => {
  const at = (decibels: number) => 2 * 10 ** (decibels / 20)

  it.each<[string, number[], string[]]>([
    ['both channels alike', [1, 1], []],
    ['the left one alone', [1, 0], []],
    ['the right one alone', [0, 1], []],
    ['one inverted', [1, -1], ['AUDIO_CHANNELS_CANCEL']],
    ['one inverted and weaker', [1, -0.7], ['AUDIO_CHANNELS_CANCEL']],
    ['a voice at −40 dB', [at(-40)], ['AUDIO_QUIET']],
    ['a voice at −58 dB', [at(-58)], ['AUDIO_QUIET']],
    ['a voice at −25 dB', [at(-25)], []],
  ])('is stored as it is, with a warning where doubt stays: %s', async (_name, factors, codes) => {
    const voice = pcm16(square(...factors))
    const found = await accepted(wavOf(voice, { channels: factors.length }))
    expect(found.codes).toEqual(codes)
    expectSame(found.samples, voice)
  })

  it('is nothing at −70 dB, and the refusal prints a line that raises it', async () => {
    const faint = wavOf(pcm24(square(at(-70))), { bits: 24 })
    const { message } = await refused(faint, 'AUDIO_EMPTY')
    expect(message).toContain('70 dB below full scale')
    const line = message.slice(message.indexOf('ffmpeg'))
    expect((await accepted(await converted(faint, line))).codes).toEqual([])
  })

  it('is no click in silence, and no offset', async () => {
    const click = new Int16Array(32_000).fill(30_000, 500, 510)
    expect((await refused(wavOf(click), 'AUDIO_EMPTY')).message).toContain('click')
    const offsets = Int16Array.from({ length: 64_000 }, (_, index) => (index % 2 ? 9_000 : -9_000))
    await refused(wavOf(offsets, { channels: 2 }), 'AUDIO_EMPTY')
  })

  it('may begin after a long silence', async () => {
    const late = new Int16Array(16_000 * 60)
    late.set(pcm16(square(1)), 16_000 * 50)
    expect((await accepted(wavOf(late))).codes).toEqual([])
  })
})

describe.runIf(hasFfmpeg)(
  'a refusal names what the file is, and its line makes an accepted one',
  () => {
    it.each<[string, string[], string]>([
      ['audio/x-m4a', ['-c:a', 'aac', '-f', 'ipod'], '.m4a'],
      ['audio/ogg', ['-c:a', 'flac', '-f', 'ogg'], '.og'],
      ['audio/flac', ['-f', 'flac'], '.flac'],
      ['video/webm', ['-c:a', 'libopus', '-f', 'webm'], '.webm'],
      ['audio/aac', ['-f', 'adts'], '.aac'],
      ['audio/aiff', ['-f', 'aiff'], '.aif'],
      ['audio/x-caf', ['-f', 'caf'], '.caf'],
      ['audio/mpeg', ['-c:a', 'mp2', '-f', 'mp2'], 'layer II'],
      ['audio/wav', ['-f', 'w64'], 'Wave64'],
    ])('%s', async (found, args, named) => {
      const bytes = await tone(...args)
      const { message, details } = await refused(bytes, 'INVALID_AUDIO_FORMAT')
      expect(details['found']).toContain(found.split('/')[0])
      expect(message).toContain(named)
      expect(message).toContain(String(details['convert']))
      expect((await accepted(await converted(bytes, details['convert']))).seconds).toBeCloseTo(3, 0)
    })

    it('samples without a header, whatever their first bytes look like', async () => {
      const samples = Int16Array.from({ length: 48_000 }, (_, index) => Math.sin(index / 9) * 9_000)
      const raw = Buffer.from(samples.buffer)
      for (const start of [[], [0xff, 0xfb]]) {
        Buffer.from(start).copy(raw)
        const { message, details } = await refused(raw, 'INVALID_AUDIO_FORMAT')
        expect(message).toContain('without a header')
        expect((await accepted(await converted(raw, details['convert']))).seconds).toBe(3)
      }
    })

    it('the samples of a telephone, whose silence looks like text', async () => {
      const silence = Buffer.alloc(20_000, 0xfd).fill(0x7d, 0, 900)
      const { message } = await refused(silence, 'INVALID_AUDIO_FORMAT')
      expect(message).toContain('mulaw')
    })

    it('an MP3 file of free format', async () => {
      const args = ['-ac', '1', '-ar', '48000', '-b:a', '128k', '-write_xing', '0']
      const frames = await tone(...args, '-c:a', 'libmp3lame', '-id3v2_version', '0', '-f', 'mp3')
      for (let at = 0; at + 4 < frames.length; at += 384) frames.writeUInt8(0x04, at + 2)
      const { message, details } = await refused(frames, 'INVALID_AUDIO_FORMAT')
      expect(message).toContain('free format')
      expect(details['convert']).toBe('mpg123 -w voice.wav voice.mp3')
    })

    it('big-endian WAV', async () => {
      const big = Buffer.from(wavOf(pcm16(square(1))))
      big.write('RIFX', 'latin1')
      expect((await refused(big, 'INVALID_AUDIO_FORMAT')).message).toContain('RIFX')
    })

    it('a codec in a WAV file', async () => {
      const bytes = await tone('-ar', '48000', '-c:a', 'ac3', '-f', 'wav')
      const { message, details } = await refused(bytes, 'AUDIO_UNREADABLE')
      expect(message).toContain('AC-3')
      expect((await accepted(await converted(bytes, details['convert']))).seconds).toBeCloseTo(3, 0)
    })

    it.each<[string, Buffer, string]>([
      ['text', html, 'text'],
      ['a web page that is called a recording', Buffer.from('{"error":"no such voice"}'), 'text'],
      ['MIDI', Buffer.from('4d546864000000060001000100604d54726b00000004ff2f00', 'hex'), 'MIDI'],
      ['a PDF', Buffer.from('%PDF-1.7\n%\xe2\xe3\xcf\xd3\n', 'latin1'), 'application/pdf'],
      ['zeros', Buffer.alloc(200_000), 'no known format'],
      ['text in Chinese', Buffer.from('错误:配额已用完\n'.repeat(90)), 'error message'],
      ['base64', Buffer.from(wavOf(pcm16(square(1))).toString('base64')), 'base64'],
      ['a WAV file in a ZIP archive', zipOf(wavOf(pcm16(square(1)))), 'application/zip'],
    ])('%s, for which there is none', async (_name, bytes, named) => {
      const { message, details } = await refused(bytes, 'INVALID_AUDIO_FORMAT')
      expect(message).toContain(named)
      expect(details).not.toHaveProperty('convert')
    })

    it.each<[string, Buffer, string]>([
      ['65 channels', wavOf(pcm16(square(...Array(65).fill(1))), { channels: 65 }), '65 channels'],
      ['no channels', wavOf(pcm16(square(1)), { channels: 0 }), 'no channels'],
      ['0 bits', claimedBits(0), '0 bits'],
      ['1 Hz', wavOf(pcm16(square(1)), { rate: 1 }), 'sample rate of 1,'],
      ['2 GHz', wavOf(pcm16(square(1)), { rate: 2_000_000_000 }), 'sample rate of 2000000000,'],
      [
        'integers under the tag of floats',
        wavOf(hugeFloats(), { bits: 32, tag: 3 }),
        'probably integers',
      ],
      ['12 bits', wavOf(pcm16(square(1)), { bits: 12 }), '12 bits'],
      ['no samples', wavOf(new Int16Array(0)).subarray(0, 36), 'no complete header'],
    ])('a WAV file of %s', async (_name, bytes, named) => {
      expect((await refused(bytes, 'AUDIO_UNREADABLE')).message).toContain(named)
    })
  },
)
