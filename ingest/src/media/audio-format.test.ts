import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { detectAudioFormat } from './audio-format.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-audio-format-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function detect(bytes: Buffer) {
  const path = join(folder, 'file')
  await writeFile(path, bytes)
  return detectAudioFormat(path)
}

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
