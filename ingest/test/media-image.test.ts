import { createHash } from 'node:crypto'
import { readFile, rm, stat } from 'node:fs/promises'
import { deflateSync } from 'node:zlib'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  blackPng,
  photo,
  plain,
  pngChunk,
  pngClaiming,
  redThenBlue,
  withPngChunk,
} from './media-fixtures.ts'
import { createMediaWorld, type MediaWorld } from './media-world.ts'

let world: MediaWorld

beforeAll(async () => {
  world = await createMediaWorld()
  await world.checks.start()
})
afterAll(() => world.close())

async function check(bytes: Buffer | string, name?: string) {
  return world.checks.checkImage(await world.upload(bytes, name), world.outDir)
}

async function refuse(
  bytes: Buffer | string,
  code: Parameters<MediaWorld['refused']>[1],
  name?: string,
) {
  return world.refused(check(bytes, name), code)
}

/** Checks an image and reads the normalised one back. */
async function normalised(bytes: Buffer) {
  const checked = await check(bytes)
  const file = await readFile(checked.path)
  expect((await stat(checked.path)).mode & 0o077).toBe(0)
  await rm(checked.path)
  const metadata = await sharp(file).metadata()
  const { data, info } = await sharp(file).raw().toBuffer({ resolveWithObject: true })
  const pixel = (x: number, y: number) => [
    ...data.subarray(
      (y * info.width + x) * info.channels,
      (y * info.width + x + 1) * info.channels,
    ),
  ]
  return { checked, file, metadata, pixel }
}

describe('an image that is accepted', () => {
  it('is measured and hashed as it is written', async () => {
    const { checked, file, metadata } = await normalised(await photo(640, 480).jpeg().toBuffer())
    expect(checked).toMatchObject({ bytes: file.length, width: 640, height: 480, warnings: [] })
    expect(checked.sha256).toBe(createHash('sha256').update(file).digest('hex'))
    expect(metadata).toMatchObject({ format: 'jpeg', width: 640, height: 480 })
  })

  it('keeps its format: a PNG bit for bit, a JPEG as far as the eye can see', async () => {
    const png = await photo(300, 300).png().toBuffer()
    const jpeg = await photo(300, 300).jpeg({ quality: 90 }).toBuffer()
    for (const [original, extension, farthest] of [
      [png, 'png', 0],
      [jpeg, 'jpg', 6],
    ] as const) {
      const { checked, file, metadata } = await normalised(original)
      expect(checked.extension).toBe(extension)
      expect(metadata.chromaSubsampling ?? '4:4:4').toBe('4:4:4')
      const before = await sharp(original).raw().toBuffer()
      const after = await sharp(file).raw().toBuffer()
      let far = 0
      for (const [at, value] of before.entries())
        if (Math.abs(value - after.readUInt8(at)) > farthest) far++
      // The noise differs each time and has rare extremes.
      expect(far / before.length).toBeLessThanOrEqual(farthest === 0 ? 0 : 1e-3)
    }
  })

  it.each([
    ['CMYK JPEG', () => plain(200, 200, '#ff8000').toColourspace('cmyk').jpeg()],
    ['16-bit PNG', () => plain(200, 200, '#ff8000').toColourspace('rgb16').png()],
    [
      '16-bit PNG with alpha',
      () => plain(200, 200, '#f80').ensureAlpha().toColourspace('rgb16').png(),
    ],
    ['greyscale PNG', () => plain(200, 200, '#808080').toColourspace('b-w').png()],
    ['greyscale JPEG', () => plain(200, 200, '#808080').toColourspace('b-w').jpeg()],
    ['palette PNG', () => plain(200, 200, '#ff8000').png({ palette: true })],
    ['progressive JPEG', () => plain(200, 200, '#ff8000').jpeg({ progressive: true })],
  ])('becomes sRGB with three channels of 8 bits: %s', async (_name, make) => {
    const { metadata } = await normalised(await make().toBuffer())
    expect(metadata).toMatchObject({ space: 'srgb', channels: 3, depth: 'uchar', hasAlpha: false })
  })

  it('roughly keeps its colours when it was CMYK', async () => {
    const { pixel, checked } = await normalised(
      await plain(200, 200, '#ffffff').toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer(),
    )
    expect(checked.warnings).toMatchObject([{ code: 'IMAGE_CMYK_WITHOUT_PROFILE' }])
    for (const channel of pixel(100, 100)) expect(channel).toBeGreaterThan(240)
  })

  it('is turned upright by its EXIF orientation', async () => {
    const lying = await (await redThenBlue()).withMetadata({ orientation: 6 }).jpeg().toBuffer()
    const { checked, pixel, metadata } = await normalised(lying)
    expect(checked).toMatchObject({ width: 150, height: 200 })
    expect(metadata.orientation).toBeUndefined()
    const [top, bottom] = [pixel(75, 20), pixel(75, 180)]
    expect(top[0]).toBeGreaterThan(200)
    expect(bottom[2]).toBeGreaterThan(200)
  })

  it('is put on white where it is transparent', async () => {
    const half = await sharp({
      create: {
        width: 200,
        height: 200,
        channels: 4,
        background: { r: 255, g: 0, b: 0, alpha: 0.5 },
      },
    })
      .png()
      .toBuffer()
    const { pixel } = await normalised(half)
    const [red, green, blue] = pixel(10, 10)
    expect(red).toBe(255)
    expect(green).toBeGreaterThan(120)
    expect(green).toBeLessThan(135)
    expect(blue).toBe(green)
  })

  it('loses its metadata and any bytes behind its end', async () => {
    const secret = 'Roundhay Garden, 51.8N'
    const jpeg = await photo(200, 200)
      .withExif({ IFD0: { ImageDescription: secret } })
      .jpeg()
      .toBuffer()
    const png = await photo(200, 200).png().toBuffer()
    const html = Buffer.from('<html><script>alert(1)</script></html>')
    const fromJpeg = await normalised(Buffer.concat([jpeg, html]))
    const fromPng = await normalised(
      Buffer.concat([withPngChunk(png, pngChunk('tEXt', Buffer.from(`Comment\0${secret}`))), html]),
    )
    for (const { file, metadata } of [fromJpeg, fromPng]) {
      expect(file.includes('<script>')).toBe(false)
      expect(file.includes(secret)).toBe(false)
      expect(metadata.exif).toBeUndefined()
    }
  })

  it('is scaled down to 2048 pixels on its longest side', async () => {
    const { checked } = await normalised(await plain(4_096, 1_024, '#456').jpeg().toBuffer())
    expect(checked).toMatchObject({ width: 2_048, height: 512 })
  })

  it('may hold a text that inflates to 50 MB', async () => {
    const text = deflateSync(Buffer.alloc(50 * 2 ** 20, 'a'))
    const chunk = pngChunk('iTXt', Buffer.concat([Buffer.from('bomb\0\x01\0\0\0', 'latin1'), text]))
    const { file } = await normalised(
      withPngChunk(await plain(200, 200, '#456').png().toBuffer(), chunk),
    )
    expect(file.includes('iTXt')).toBe(false)
  })

  it('may be as large as the limits say, interlaced and with 16 bits', async () => {
    const largest = await plain(5_000, 8_000, '#a54')
      .ensureAlpha(0.5)
      .toColourspace('rgb16')
      .png({ progressive: true })
      .toBuffer()
    const { checked } = await normalised(largest)
    expect(checked).toMatchObject({ width: 1_280, height: 2_048 })
  })

  it('may have sides of 128 and of 8192 pixels', async () => {
    const { checked } = await normalised(await plain(128, 8_192, '#456').png().toBuffer())
    expect(checked).toMatchObject({ width: 32, height: 2_048 })
  })

  it('needs no particular name', async () => {
    const jpeg = await plain(200, 200, '#456').jpeg().toBuffer()
    const checked = await check(jpeg, 'portrait.svg')
    expect(checked.width).toBe(200)
    await rm(checked.path)
  })
})

describe('what is not PNG or JPEG is refused', () => {
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="300"><rect/></svg>'
  it.each([
    ['an SVG named .png', async () => Buffer.from(svg)],
    ['a GIF', () => plain(200, 200, '#456').gif().toBuffer()],
    ['a WebP', () => plain(200, 200, '#456').webp().toBuffer()],
    ['a TIFF', () => plain(200, 200, '#456').tiff().toBuffer()],
    ['text', async () => Buffer.from('portrait')],
  ])('%s', async (_name, make) => {
    const error = await refuse(await make(), 'INVALID_IMAGE_FORMAT', 'portrait.png')
    expect(error.details).toMatchObject({ allowed: ['image/png', 'image/jpeg'] })
  })

  it('an animated PNG, whose other frames would be lost', async () => {
    const control = Buffer.alloc(8)
    control.writeUInt32BE(2, 0)
    const png = await plain(200, 200, '#456').png().toBuffer()
    const error = await refuse(withPngChunk(png, pngChunk('acTL', control)), 'INVALID_IMAGE_FORMAT')
    expect(error.details).toMatchObject({ found: 'image/apng', pictures: 2 })
    expect(error.message).toBe(
      'Image must show one picture, and this PNG is an animation of 2; send one frame of it as PNG or JPEG.',
    )
  })
})

describe('an image that cannot be decoded completely is refused', () => {
  it.each([
    ['PNG', () => photo(400, 400).png()],
    ['JPEG', () => photo(400, 400).jpeg()],
    ['progressive JPEG', () => photo(400, 400).jpeg({ progressive: true })],
  ])('a %s cut in half', async (_name, make) => {
    const whole = await make().toBuffer()
    await refuse(whole.subarray(0, whole.length / 2), 'IMAGE_UNREADABLE')
  })

  it('a PNG with damaged pixels', async () => {
    const png = await photo(400, 400).png().toBuffer()
    const middle = Math.floor(png.length / 2)
    png.fill(0, middle, middle + 64)
    await refuse(png, 'IMAGE_UNREADABLE')
  })

  it('a PNG with fewer rows than its header claims', async () => {
    await refuse(pngClaiming(200, 200), 'IMAGE_UNREADABLE')
  })

  it('an empty file', async () => {
    const error = await refuse(Buffer.alloc(0), 'IMAGE_UNREADABLE')
    expect(error.details).toEqual({ bytes: 0 })
  })
})

describe('an image of the wrong dimensions is refused', () => {
  it.each([
    ['1×1', () => blackPng(1, 1)],
    ['127 pixels wide', () => blackPng(127, 400)],
    ['127 pixels high', () => blackPng(400, 127)],
    ['8193 pixels wide', () => blackPng(8_193, 200)],
    ['16000×16000 in a few kilobytes', () => blackPng(16_000, 16_000)],
    ['40 megapixels and one row', () => blackPng(5_000, 8_001)],
    ['a header that claims 60000×60000', () => pngClaiming(60_000, 60_000)],
  ])('%s', async (_name, make) => {
    const error = await refuse(make(), 'IMAGE_DIMENSIONS')
    expect(error.details).toMatchObject({ min_side_pixels: 128, max_side_pixels: 8_192 })
    expect(error.details).toHaveProperty('width')
  })
})
