import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp, { type JpegOptions } from 'sharp'
import { describe, expect, it } from 'vitest'
import { readJpeg } from './image-jpeg.ts'

const portrait = await readFile(join(import.meta.dirname, '../../../examples/portrait.jpg'))
const small = sharp(portrait).resize(200)
const baseline = await small.clone().jpeg({ quality: 90 }).toBuffer()
const progressive = await small.clone().jpeg({ quality: 90, progressive: true }).toBuffer()

/** 48×48 pixels of grey with a restart marker after each row of blocks. */
const restarting = Buffer.from(
  [
    '/9j/4AAQSkZJRgABAQAAAQABAAD//gBGRmlsZSBzb3VyY2U6IGh0dHA6Ly9jb21tb25zLndpa2ltZWRpYS5vcmcv',
    'd2lraS9GaWxlOkdyYWNlX0hvcHBlci5qcGf/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqg',
    'tObDoKrarYqMyP/L2u71////m8H////6/+b9//j/wAALCAAwADABAREA/8QAGQAAAgMBAAAAAAAAAAAAAAAAAgQA',
    'AQMF/8QAIxAAAgEEAQUBAQEAAAAAAAAAAQIAAxESIUEEEyIxUXGBYf/dAAQABv/aAAgBAQAAPwDkSS9yblguu1yH',
    '+iCbk7n/0OZRpdwzqUOlo00BIBPJMYVKLaCg/wAkNCiN4CCTRviBv8i/UdLTqC4XFvon/9FVENKiMRdjuH3nwJqM',
    'QeFUCFQqNojMb9EXvHWdjT8V0dXiFXIPcUy30mXgzqCiMh58vc//0otB0AB21x6/JCis4a3O4yQtMXLgtwBDVB2g',
    't/7M8ksRkVb0RBbxsOZ//9NhiTUKgi/F5mFsTu9jAUdxiU8QugQOYduoGsgV+23My1Si4Yksp0b8TVfO3BM//9Sd',
    'TmahanbIcHmB0bEZI4sQb2M1KH0rFQDxKyA0a1S35CC39sWHwwa5DFVH2f/Z',
  ].join(''),
  'base64',
)

const read = (bytes: Buffer) => readJpeg(bytes, 1e6)
const faultOf = (bytes: Buffer) => read(bytes)?.fault?.problem

/** Where the entropy-coded data of the first scan begins. */
function scanBegin(bytes: Buffer): number {
  const at = bytes.indexOf(Buffer.from([0xff, 0xda]))
  return at + 2 + bytes.readUInt16BE(at + 2)
}

const middle = (bytes: Buffer) => Math.floor((scanBegin(bytes) + bytes.length) / 2)

/** The positions of a restart marker, or of whichever marker has the code. */
function positionOf(bytes: Buffer, code: number): number {
  return bytes.indexOf(Buffer.from([0xff, code]), scanBegin(bytes))
}

function without(bytes: Buffer, from: number, to: number): Buffer {
  return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)])
}

function filled(bytes: Buffer, from: number, count: number, value: number): Buffer {
  return Buffer.from(bytes).fill(value, from, from + count)
}

describe('a JPEG with all of its pixels has no fault', () => {
  const options: JpegOptions[] = [
    { quality: 1 },
    { quality: 100, chromaSubsampling: '4:4:4' },
    { optimiseCoding: false },
    { mozjpeg: true },
    { progressive: true },
    { progressive: true, chromaSubsampling: '4:4:4' },
  ]
  it.each(options)('written with %j, whatever its size and its colours', async (option) => {
    for (const width of [8, 133, 200]) {
      const image = sharp(portrait).resize(width)
      const colour = await image.clone().jpeg(option).toBuffer()
      const grey = await image.clone().greyscale().jpeg(option).toBuffer()
      const inks = await image.clone().toColourspace('cmyk').jpeg(option).toBuffer()
      for (const bytes of [colour, grey, inks]) {
        expect(read(bytes)).toMatchObject({ width, isFollowed: true })
        expect(read(bytes)?.fault).toBeUndefined()
        expect(read(bytes)?.picture.equals(bytes)).toBe(true)
      }
    }
  })

  it.each([
    ['with restart markers', restarting],
    ['without its end marker', baseline.subarray(0, -2)],
    ['with half of its end marker', baseline.subarray(0, -1)],
    ['progressive and without its end marker', progressive.subarray(0, -2)],
    ['with zeros in place of its end marker', filled(baseline, baseline.length - 2, 2, 0)],
    [
      'with many zeros behind it and no end marker',
      Buffer.concat([baseline.subarray(0, -2), Buffer.alloc(5_000)]),
    ],
    [
      'with one stray byte in front of its end marker, as some cameras write it',
      Buffer.concat([baseline.subarray(0, -2), Buffer.from([0x5a]), baseline.subarray(-2)]),
    ],
    ['with another picture behind it', Buffer.concat([baseline, progressive])],
    [
      'with stray bytes between its segments',
      Buffer.concat([
        baseline.subarray(0, 2 + 2 + baseline.readUInt16BE(4)),
        Buffer.from([0, 0, 0]),
        baseline.subarray(2 + 2 + baseline.readUInt16BE(4)),
      ]),
    ],
  ])('%s', async (_name, bytes) => {
    const found = read(bytes)
    expect(found?.fault).toBeUndefined()
    expect(found?.picture.subarray(-2)).toEqual(Buffer.from([0xff, 0xd9]))
    const pixels = await sharp(found?.picture, { failOn: 'error' }).raw().toBuffer()
    const same = [baseline, progressive, restarting].map((one) => sharp(one).raw().toBuffer())
    expect((await Promise.all(same)).some((original) => original.equals(pixels))).toBe(true)
  })
})

describe('a JPEG that lost pixels has a fault', () => {
  it.each([
    ['cut in the middle', baseline.subarray(0, middle(baseline))],
    ['progressive and cut in the middle', progressive.subarray(0, middle(progressive))],
    [
      'progressive and cut between two scans',
      progressive.subarray(0, progressive.lastIndexOf(Buffer.from([0xff, 0xda]))),
    ],
    [
      'with restart markers and cut behind one',
      restarting.subarray(0, positionOf(restarting, 0xd2) + 2),
    ],
  ])('cut off: %s', (_name, bytes) => {
    expect(faultOf(bytes)).toBe('cut off')
  })

  it.each([
    ['a kilobyte of zeros', filled(baseline, middle(baseline), 1_024, 0)],
    ['16 bytes of ones', filled(baseline, middle(baseline), 16, 0xff)],
    ['a kilobyte lost', without(baseline, middle(baseline), middle(baseline) + 1_024)],
    [
      'a kilobyte twice',
      Buffer.concat([
        baseline.subarray(0, middle(baseline)),
        baseline.subarray(middle(baseline) - 1_024),
      ]),
    ],
    [
      'an end marker in the middle',
      Buffer.concat([baseline.subarray(0, middle(baseline)), baseline.subarray(-2)]),
    ],
    ['zeros in a progressive one', filled(progressive, middle(progressive), 64, 0)],
    [
      'an interval lost',
      without(restarting, positionOf(restarting, 0xd1), positionOf(restarting, 0xd2)),
    ],
    [
      'two restart markers swapped',
      (() => {
        const swapped = Buffer.from(restarting)
        swapped[positionOf(restarting, 0xd1) + 1] = 0xd2
        return swapped
      })(),
    ],
  ])('damaged: %s', (_name, bytes) => {
    expect(faultOf(bytes)).toBe('damaged')
  })

  it('nearly always when 40 bytes of its scan are other ones', () => {
    const from = scanBegin(baseline)
    const step = Math.floor((baseline.length - from - 50) / 50)
    const noticed = Array.from({ length: 50 }, (_, index) => {
      const bytes = Buffer.from(baseline)
      for (let at = from + index * step; at < from + index * step + 40; at++)
        bytes[at] = (bytes[at] ?? 0) ^ 0x55
      return faultOf(bytes)
    }).filter((fault) => fault !== undefined)
    // The codes may fall into step again behind exactly as many blocks as there were.
    expect(noticed.length).toBeGreaterThan(35)
  })
})

it('leaves a coding that it cannot follow to the decoder', () => {
  const arithmetic = Buffer.from(baseline)
  arithmetic[arithmetic.indexOf(Buffer.from([0xff, 0xc0])) + 1] = 0xc9
  expect(read(arithmetic)).toMatchObject({ isFollowed: false, width: 200 })
  expect(readJpeg(baseline, 1_000)).toMatchObject({ isFollowed: false, width: 200 })
})

it('finds nothing in what only begins like a JPEG, and survives every end of a file', () => {
  expect(read(Buffer.from([0xff, 0xd8, 0xff]))).toBeUndefined()
  expect(read(Buffer.from([0xff, 0xd8, 0xff, 0xe0, 0xff, 0xff]))).toBeUndefined()
  for (let length = 3; length < 1_000; length++) read(baseline.subarray(0, length))
})
