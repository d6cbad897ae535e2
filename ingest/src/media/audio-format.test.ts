import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { claimedMp3Seconds, detectAudioFormat } from './audio-format.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-audio-format-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function written(bytes: Buffer) {
  const path = join(folder, 'file')
  await writeFile(path, bytes)
  return path
}

const detect = async (bytes: Buffer) => detectAudioFormat(await written(bytes))
const claimed = async (bytes: Buffer) => claimedMp3Seconds(await written(bytes))

const frame = Buffer.from([0xff, 0xfb, 0x90, 0x64])

function id3(tagBytes: number, flags = 0): Buffer {
  const sizes = [tagBytes >> 21, tagBytes >> 14, tagBytes >> 7, tagBytes].map((bits) => bits & 0x7f)
  const header = Buffer.from([0x49, 0x44, 0x33, 4, 0, flags, ...sizes])
  return Buffer.concat([header, Buffer.alloc(tagBytes + (flags === 0 ? 0 : 10), 0x2a)])
}

describe('the format of an audio file', () => {
  it.each([
    ['a RIFF file of WAVE', Buffer.from('RIFF\0\0\0\0WAVE', 'latin1'), 'wav'],
    ['an MP3 frame', frame, 'mp3'],
    ['an MP3 frame behind zeros', Buffer.concat([Buffer.alloc(2_000), frame]), 'mp3'],
    ['an MP3 frame behind a long tag', Buffer.concat([id3(300_000), frame]), 'mp3'],
    ['an MP3 frame behind a tag with a footer', Buffer.concat([id3(100, 0x10), frame]), 'mp3'],
    ['a tag alone', id3(100), undefined],
    ['FLAC behind a tag', Buffer.concat([id3(100), Buffer.from('fLaC')]), undefined],
    ['AAC, which has layer 0', Buffer.from([0xff, 0xf1, 0x50, 0x80]), undefined],
    ['MPEG audio of layer II', Buffer.from([0xff, 0xfd, 0x90, 0x64]), undefined],
    ['a bit rate that does not exist', Buffer.from([0xff, 0xfb, 0xf0, 0x64]), undefined],
    ['a sample rate that does not exist', Buffer.from([0xff, 0xfb, 0x9c, 0x64]), undefined],
    ['a version that does not exist', Buffer.from([0xff, 0xeb, 0x90, 0x64]), undefined],
    ['a RIFF file of something else', Buffer.from('RIFF\0\0\0\0AVI ', 'latin1'), undefined],
    ['a frame that ends at once', Buffer.from([0xff, 0xfb]), undefined],
    ['nothing', Buffer.alloc(0), undefined],
  ])('of %s', async (_name, bytes, expected) => {
    expect(await detect(bytes)).toBe(expected)
  })
})

/** A first frame that claims a length behind this many bytes of side information. */
function claiming(head: number[], sideBytes: number, name: string, frames: number, flags = 1) {
  const claim = Buffer.alloc(name === 'VBRI' ? 18 : 12)
  claim.write(name, 'latin1')
  if (name === 'VBRI') claim.writeUInt32BE(frames, 14)
  else {
    claim.writeUInt32BE(flags, 4)
    claim.writeUInt32BE(frames, 8)
  }
  return Buffer.concat([Buffer.from(head), Buffer.alloc(sideBytes), claim, Buffer.alloc(400)])
}

const mpeg1 = [0xff, 0xfb, 0x90, 0x64]
const mpeg2 = [0xff, 0xf3, 0x90, 0x64]
const mpeg25 = [0xff, 0xe3, 0x90, 0x64]

describe('the length that an MP3 file claims', () => {
  it.each([
    ['MPEG-1, Xing', claiming(mpeg1, 32, 'Xing', 441), (441 * 1152) / 44_100],
    [
      'MPEG-1, Info, behind a tag',
      Buffer.concat([id3(99), claiming(mpeg1, 17, 'Info', 10)]),
      0.261,
    ],
    ['MPEG-2', claiming(mpeg2, 17, 'Xing', 441), (441 * 576) / 22_050],
    ['MPEG-2.5', claiming(mpeg25, 9, 'Info', 441), (441 * 576) / 11_025],
    ['VBRI', claiming(mpeg1, 32, 'VBRI', 441), (441 * 1152) / 44_100],
  ])('is read from %s', async (_name, bytes, seconds) => {
    expect(await claimed(bytes)).toBeCloseTo(seconds, 3)
  })

  it.each([
    ['a frame without a header', Buffer.concat([frame, Buffer.alloc(400)])],
    ['a header without a count', claiming(mpeg1, 32, 'Xing', 441, 0)],
    ['a truncated header', claiming(mpeg1, 32, 'Xing', 441).subarray(0, 42)],
    ['a truncated VBRI header', claiming(mpeg1, 32, 'VBRI', 441).subarray(0, 42)],
    ['a WAV file', Buffer.from('RIFF\0\0\0\0WAVEXing', 'latin1')],
    ['nothing', Buffer.alloc(0)],
  ])('is undefined for %s', async (_name, bytes) => {
    expect(await claimed(bytes)).toBeUndefined()
  })
})
