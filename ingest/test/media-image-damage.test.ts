import { deflateSync, inflateSync } from 'node:zlib'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { normalised, pixelsOf, portrait } from './image-world.ts'
import { plain, pngChunk, pngSignature, withPngChunk } from './media-fixtures.ts'

const small = sharp(portrait).resize(200)
const jpeg = await small.clone().jpeg({ quality: 90 }).toBuffer()
const png = await small.clone().png().toBuffer()
const [jpegPixels, pngPixels] = [await pixelsOf(jpeg), await pixelsOf(png)]

/** The header and the pixels of a PNG. */
function partsOf(whole: Buffer) {
  const deflated: Buffer[] = []
  for (let at = 8; at < whole.length; at += 12 + whole.readUInt32BE(at)) {
    const end = at + 8 + whole.readUInt32BE(at)
    if (whole.toString('latin1', at + 4, at + 8) === 'IDAT')
      deflated.push(whole.subarray(at + 8, end))
  }
  return { header: whole.subarray(16, 29), pixels: Buffer.concat(deflated) }
}

const { header, pixels } = partsOf(png)

function withWrongChecksum(chunk: Buffer): Buffer {
  return Buffer.concat([chunk.subarray(0, -1), Buffer.from([(chunk.at(-1) ?? 0) ^ 1])])
}

function built(...chunks: Buffer[]): Buffer {
  return Buffer.concat([pngSignature, pngChunk('IHDR', header), ...chunks])
}

const data = pngChunk('IDAT', pixels)
const end = pngChunk('IEND', Buffer.alloc(0))

/** The JPEG with other bytes in its frame header. */
function inFrame(offset: number, ...values: number[]): Buffer {
  const changed = Buffer.from(jpeg)
  changed.set(values, changed.indexOf(Buffer.from([0xff, 0xc0])) + offset)
  return changed
}

function animation(frames: number): Buffer {
  const control = Buffer.alloc(8)
  control.writeUInt32BE(frames, 0)
  return pngChunk('acTL', control)
}

const frame = (() => {
  const body = Buffer.alloc(26)
  header.copy(body, 4, 0, 8)
  return pngChunk('fcTL', body)
})()

describe('a picture with all of its pixels is accepted', () => {
  it.each([
    ['a JPEG without its end marker', jpeg.subarray(0, -2)],
    ['a JPEG that begins twice', Buffer.concat([jpeg.subarray(0, 2), jpeg])],
    ['a JPEG behind a newline', Buffer.concat([Buffer.from('\n'), jpeg])],
    ['a JPEG behind a byte-order mark', Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), jpeg])],
    [
      'a JPEG behind the head of an HTTP answer',
      Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n'), jpeg]),
    ],
    [
      'a JPEG behind a warning in HTML',
      Buffer.concat([Buffer.from(`<br />\n<b>Warning</b>: ${'x'.repeat(3_000)}<br />\n`), jpeg]),
    ],
    ['a PNG behind a byte-order mark', Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), png])],
    ['a PNG without its end chunk', built(data)],
    ['a PNG that ends within its end chunk', built(data, end).subarray(0, -5)],
    ['a PNG that ends within its last checksum', built(data).subarray(0, -2)],
    ['a PNG that ends within the checksum of its pixels', built(data).subarray(0, -7)],
    [
      'a PNG whose pixels have a wrong checksum of their chunk',
      built(withWrongChecksum(data), end),
    ],
    [
      'a PNG with a text whose checksum is wrong',
      built(withWrongChecksum(pngChunk('tEXt', Buffer.from('a\0b'))), data, end),
    ],
    [
      'a PNG with bytes behind its pixels',
      built(pngChunk('IDAT', Buffer.concat([pixels, Buffer.alloc(50, 7)])), end),
    ],
    ['a PNG with a page behind it', Buffer.concat([png, Buffer.from('<html></html>')])],
    ['an animation of one frame', built(animation(1), frame, data, end)],
  ])('%s', async (name, bytes) => {
    const { pixels: found, warnings } = await normalised(bytes)
    expect(warnings).toEqual([])
    const original = name.includes('JPEG') ? jpegPixels : pngPixels
    const farthest = original.reduce(
      (far, value, at) => Math.max(far, Math.abs(value - (found[at] ?? 0))),
      0,
    )
    expect(farthest).toBeLessThanOrEqual(name.includes('JPEG') ? 12 : 0)
  })

  it('an interlaced PNG that ends within its checksum', async () => {
    const whole = await small.clone().png({ progressive: true }).toBuffer()
    const parts = partsOf(whole)
    const cut = Buffer.concat([
      pngSignature,
      pngChunk('IHDR', parts.header),
      pngChunk('IDAT', parts.pixels).subarray(0, -6),
    ])
    expect((await normalised(cut)).pixels.equals(pngPixels)).toBe(true)
  })
})

describe('a picture that lost pixels is refused with the reason', () => {
  const middle = Math.floor(jpeg.length / 2)
  const wrong = Buffer.from(inflateSync(pixels)).subarray(0, -700)
  it.each([
    ['a JPEG cut off', jpeg.subarray(0, middle), 'cut off'],
    ['a JPEG with zeros in it', Buffer.from(jpeg).fill(0, middle, middle + 1_024), 'damaged'],
    ['a PNG cut off', png.subarray(0, middle), 'cut off'],
    ['a PNG with zeros in it', Buffer.from(png).fill(0, middle, middle + 64), 'damaged'],
    ['a PNG with rows missing', built(pngChunk('IDAT', deflateSync(wrong)), end), 'damaged'],
    [
      'a PNG whose pixels do not fit their own checksum',
      built(
        pngChunk(
          'IDAT',
          Buffer.concat([pixels.subarray(0, -1), Buffer.from([(pixels.at(-1) ?? 0) ^ 1])]),
        ),
        end,
      ),
      'damaged',
    ],
    [
      'a PNG as iPhone apps have it',
      Buffer.concat([pngSignature, pngChunk('CgBI', Buffer.alloc(4)), png.subarray(8)]),
      'Apple variant',
    ],
    ['a JPEG of 12 bits', inFrame(4, 12), 'rare JPEG'],
    ['a lossless JPEG', inFrame(1, 0xc3), 'rare JPEG'],
    ['a JPEG without a height', inFrame(5, 0, 0), 'no size'],
    ['a PNG for iPhone apps', built(pngChunk('CgBI', Buffer.alloc(4)), data, end), 'Apple variant'],
  ])('%s', async (_name, bytes, problem) => {
    await expect(normalised(bytes)).rejects.toMatchObject({
      code: 'IMAGE_UNREADABLE',
      details: { problem },
      explanation: expect.stringMatching(/^The image .*(send|export)/),
    })
  })

  it('and says how many rows of a JPEG there are', async () => {
    await expect(normalised(jpeg.subarray(0, middle))).rejects.toMatchObject({
      explanation: expect.stringMatching(/^The image is cut off after \d+ of its 234 rows; send/),
      details: { rows: expect.any(Number), height: 234 },
    })
  })
})

describe('what is no still PNG or JPEG is refused by its name, with the cure', () => {
  const text =
    (...parts: string[]) =>
    async () =>
      Buffer.from(parts.join(''), 'latin1')
  const inBox = (brand: string) =>
    text('\0\0\0\x18ftyp', brand, '\0\0\0\0mif1', brand, '\0'.repeat(2_000))
  it.each([
    ['image/webp', 'a WebP picture; export', () => plain(200, 200, '#456').webp().toBuffer()],
    ['image/gif', 'a GIF; export', () => plain(200, 200, '#456').gif().toBuffer()],
    ['image/tiff', 'a TIFF picture; export', () => plain(200, 200, '#456').tiff().toBuffer()],
    ['image/avif', 'an AVIF picture; export', inBox('avif')],
    ['image/heic', 'a HEIC picture, as iPhones take them; export', inBox('heic')],
    ['image/jxl', 'a JPEG XL picture; export', text('\xff\x0a', '\0'.repeat(100))],
    ['image/bmp', 'a BMP picture; export', text('BM', '\0'.repeat(100))],
    ['image/svg+xml', 'an SVG drawing; render', text('<svg xmlns="http://www.w3.org/2000/svg"/>')],
    ['application/pdf', 'a PDF document; export', text('%PDF-1.7\n', '\0'.repeat(100))],
    ['text/html', 'a web page; send the picture itself', text('<!DOCTYPE html><html></html>')],
    ['text/x-mangled', 'changed as if', async () => Buffer.from(jpeg.toString('utf8'))],
    ['text/x-mangled', 'changed as if', async () => Buffer.from(jpeg.toString('latin1'))],
    ['text/x-mangled', 'changed as if', text('\x89PNG\n\x1a\n', '\0'.repeat(100))],
    ['text/x-base64', 'base64 text; decode', async () => Buffer.from(jpeg.toString('base64'))],
    [
      'image/apng',
      'an animation of 2; send one frame',
      async () => built(animation(2), frame, data, end),
    ],
    [
      'image/apng',
      'an animation of 2; send one frame',
      async () => built(animation(1), data, frame, end),
    ],
    [
      'image/tiff',
      'a TIFF picture; export',
      async () => Buffer.concat([await plain(20, 20, '#456').tiff().toBuffer(), jpeg]),
    ],
  ])('%s: %s', async (found, words, make) => {
    await expect(normalised(await make())).rejects.toMatchObject({
      code: 'INVALID_IMAGE_FORMAT',
      details: { found, allowed: ['image/png', 'image/jpeg'] },
      explanation: expect.stringContaining(words),
    })
  })

  it('a picture that begins too far behind something else', async () => {
    const bytes = Buffer.concat([Buffer.alloc(10_000, ' '), jpeg])
    await expect(normalised(bytes)).rejects.toMatchObject({ code: 'INVALID_IMAGE_FORMAT' })
  })
})

it('a chunk of colours with a wrong checksum is ignored with a warning', async () => {
  const gamma = withWrongChecksum(pngChunk('gAMA', Buffer.from([0, 1, 0x86, 0xa0])))
  const found = await normalised(withPngChunk(png, gamma))
  expect(found.warnings).toEqual(['IMAGE_COLOUR_PROFILE_IGNORED'])
  expect(found.pixels.equals(pngPixels)).toBe(true)
})
