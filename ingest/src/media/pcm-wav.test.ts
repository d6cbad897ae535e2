import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { normalisePcmWav } from './pcm-wav.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-pcm-wav-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

function chunk(name: string, content: Buffer): Buffer {
  const header = Buffer.alloc(8)
  header.write(name, 'latin1')
  header.writeUInt32LE(content.length, 4)
  return Buffer.concat([header, content, Buffer.alloc(content.length % 2)])
}

type Format = {
  tag?: number
  channels?: number
  sampleRate?: number
  bits?: number
  block?: number
}

function format({ tag = 1, channels = 1, sampleRate = 8_000, bits = 16, block }: Format = {}) {
  const content = Buffer.alloc(16)
  content.writeUInt16LE(tag, 0)
  content.writeUInt16LE(channels, 2)
  content.writeUInt32LE(sampleRate, 4)
  content.writeUInt16LE(block ?? (channels * bits) / 8, 12)
  content.writeUInt16LE(bits, 14)
  return chunk('fmt ', content)
}

const riff = (...chunks: Buffer[]) => Buffer.concat([Buffer.from('RIFF\0\0\0\0WAVE'), ...chunks])
const sound = (...samples: number[]) => chunk('data', Buffer.from(Int16Array.from(samples).buffer))

async function normalise(bytes: Buffer, maxSeconds = 10) {
  const [path, out] = [join(folder, 'in.wav'), join(folder, 'out.wav')]
  await writeFile(path, bytes)
  const wav = normalisePcmWav({
    ...{ path, out, maxSeconds },
    levels: { silentPeak: 0.001, quietPeak: 0.03 },
  })
  return { wav, written: existsSync(out) ? await readFile(out) : undefined }
}

describe('a plain WAV file', () => {
  it('is measured: samples per channel, and half the distance from the lowest to the highest', async () => {
    const stereo = riff(format({ channels: 2, sampleRate: 44_100 }), sound(1, -32_768, 3, 32_767))
    const { wav, written } = await normalise(stereo)
    expect(wav).toMatchObject({ samples: 2, sampleRate: 44_100, bytes: 52 })
    expect(wav?.peak).toBeCloseTo(1, 4)
    expect(written).toHaveLength(52)
    expect(written?.readUInt16LE(22)).toBe(2)
  })

  it('may have chunks of odd length before its samples', async () => {
    const { wav } = await normalise(
      riff(chunk('junk', Buffer.alloc(7)), format(), sound(8_192, -8_192)),
    )
    expect(wav).toMatchObject({ samples: 2, peak: 0.25 })
  })

  it('is silent when its samples are constant, however large', async () => {
    expect((await normalise(riff(format(), sound(9_000, 9_000, 9_000)))).wav?.peak).toBe(0)
  })

  it('is measured over more than one read', async () => {
    const samples = Array(600_000).fill(100)
    samples[599_999] = 16_384 + 100
    samples[0] = 100 - 16_384
    const { wav } = await normalise(
      riff(format({ sampleRate: 48_000 }), sound(...samples.slice(0, 100_000))),
    )
    expect(wav).toMatchObject({ samples: 100_000 })
    const long = chunk('data', Buffer.from(Int16Array.from(samples).buffer))
    const whole = await normalise(riff(format({ sampleRate: 48_000 }), long), 60)
    expect(whole.wav).toMatchObject({ samples: 600_000, peak: 0.5 })
    expect(whole.written?.subarray(44).equals(long.subarray(8))).toBe(true)
  })
})

describe('the decoder gets, and nothing is written for', () => {
  it.each([
    ['another codec', riff(format({ tag: 3 }), sound(1))],
    ['another depth', riff(format({ bits: 24 }), sound(1, 2, 3))],
    ['a block size that does not fit', riff(format({ block: 6 }), sound(1, 2, 3))],
    ['three channels', riff(format({ channels: 3 }), sound(1, 2, 3))],
    ['no channel', riff(format({ channels: 0 }), sound(1))],
    ['an odd rate', riff(format({ sampleRate: 8_001 }), sound(1))],
    ['a rate of 0', riff(format({ sampleRate: 0 }), sound(1))],
    ['half a sample', riff(format(), chunk('data', Buffer.alloc(3)))],
    ['half a block', riff(format({ channels: 2 }), sound(1, 2, 3))],
    ['no samples', riff(format(), sound())],
    ['a data size beyond the end', riff(format(), sound(1, 2, 3)).subarray(0, -2)],
    ['samples before their format', riff(sound(1), format())],
    ['a format cut short', riff(chunk('fmt ', Buffer.alloc(4))).subarray(0, 24)],
    ['no chunk at all', riff()],
    ['endless chunks', riff(...Array(40).fill(chunk('junk', Buffer.alloc(0))), format(), sound(1))],
    ['what is not RIFF', Buffer.from('RIFX\0\0\0\0WAVE')],
    ['more than the longest', riff(format(), chunk('data', Buffer.alloc(2 * 80_001)))],
  ])('%s', async (_name, bytes) => {
    expect(await normalise(bytes)).toEqual({ wav: undefined, written: undefined })
  })
})
