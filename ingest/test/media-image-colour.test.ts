import { deflateSync } from 'node:zlib'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { normalised, pixelsOf, portrait } from './image-world.ts'
import { pngChunk, pngSignature } from './media-fixtures.ts'

type Vector = readonly [number, number, number]
type Matrix = readonly [Vector, Vector, Vector]

const width = 128
const original = await sharp(portrait).resize(width).png().toBuffer()
const srgb = await pixelsOf(original)
const height = srgb.length / 3 / width

/** From linear sRGB, as BT.2087, SMPTE and Adobe print them. */
const toBt2020: Matrix = [
  [0.6274, 0.3293, 0.0433],
  [0.0691, 0.9195, 0.0114],
  [0.0164, 0.088, 0.8956],
]
const toP3: Matrix = [
  [0.82246, 0.17754, 0],
  [0.03319, 0.96681, 0],
  [0.01708, 0.0724, 0.91052],
]
const toAdobe: Matrix = [
  [0.71512, 0.28488, 0],
  [0, 1, 0],
  [0, 0.04117, 0.95883],
]
const same: Matrix = [
  [1, 0, 0],
  [0, 1, 0],
  [0, 0, 1],
]

const fromSrgb = (v: number) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
const toSrgb = (v: number) => (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055)
/** White at 203 cd/m². */
const pq = (v: number) => {
  const y = ((Math.max(v, 0) * 203) / 10_000) ** 0.1593017578125
  return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375
}
const hlg = (v: number) =>
  v <= 1 / 12 ? Math.sqrt(3 * v) : 0.17883277 * Math.log(12 * v - 0.28466892) + 0.55991073
const bt709 = (v: number) => (v < 0.018 ? 4.5 * v : 1.099 * v ** 0.45 - 0.099)

/** Each pixel in linear light, converted. */
function signals(matrix: Matrix, encode: (linear: Vector) => Vector): Float64Array {
  const found = new Float64Array(srgb.length)
  for (let at = 0; at < srgb.length; at += 3) {
    const [r, g, b] = [...srgb.subarray(at, at + 3)].map((v) =>
      fromSrgb(v / 255),
    ) as unknown as Vector
    const converted = matrix.map((row) => Math.max(0, row[0] * r + row[1] * g + row[2] * b))
    found.set(encode(converted as unknown as Vector), at)
  }
  return found
}

const each = (curve: (v: number) => number) => (linear: Vector) =>
  linear.map(curve) as unknown as Vector

/** From the light of a display of 1,000 cd/m², with white at 203, back to that of the scene (BT.2100). */
function hlgOfDisplay(linear: Vector): Vector {
  const display = linear.map((v) => (v * 203) / 1_000)
  const [r = 0, g = 0, b = 0] = display
  const luminance = 0.2627 * r + 0.678 * g + 0.0593 * b
  const gain = luminance > 0 ? luminance ** (1 / 1.2 - 1) : 0
  return display.map((v) => hlg(v * gain)) as unknown as Vector
}

/** A PNG of RGB, or of RGB with full alpha. */
function png(values: Float64Array, bits: 8 | 16, chunks: readonly Buffer[], alpha = false): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([bits, alpha ? 6 : 2], 8)
  const [bytes, full] = [bits / 8, 2 ** bits - 1]
  const row = 1 + width * (alpha ? 4 : 3) * bytes
  const rows = Buffer.alloc(row * height)
  for (let y = 0; y < height; y++) {
    let at = y * row + 1
    for (let x = 0; x < 3 * width; x++) {
      const value = values[y * 3 * width + x] ?? 0
      at = rows.writeUIntBE(Math.round(full * Math.min(value, 1)), at, bytes)
      if (alpha && x % 3 === 2) at = rows.writeUIntBE(full, at, bytes)
    }
  }
  const [head, body] = [pngChunk('IHDR', header), pngChunk('IDAT', deflateSync(rows))]
  return Buffer.concat([pngSignature, head, ...chunks, body, pngChunk('IEND', Buffer.alloc(0))])
}

const cicp = (...codes: number[]) => pngChunk('cICP', Buffer.from(codes))
function numbers(name: string, ...values: number[]): Buffer {
  const body = Buffer.alloc(4 * values.length)
  for (const [index, value] of values.entries())
    body.writeUInt32BE(Math.round(1e5 * value), 4 * index)
  return pngChunk(name, body)
}
const gama = (value: number) => numbers('gAMA', value)
const p3Chromaticities = numbers('cHRM', 0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
const adobeChromaticities = numbers('cHRM', 0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)

/** The mean of ΔE (CIE 1976) over all pixels. */
function meanDifference(pixels: Buffer): number {
  let sum = 0
  for (let at = 0; at < srgb.length; at += 3) {
    const [a, b] = [labOf(srgb, at), labOf(pixels, at)]
    sum += Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2])
  }
  return sum / (srgb.length / 3)
}

function labOf(pixels: Buffer, at: number): Vector {
  const [r = 0, g = 0, b = 0] = [...pixels.subarray(at, at + 3)].map((v) => fromSrgb(v / 255))
  const f = (t: number) => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116)
  const x = f((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505)
  const y = f(0.2126 * r + 0.7152 * g + 0.0722 * b)
  const z = f((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089)
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)]
}

async function difference(image: Buffer) {
  const { pixels, warnings } = await normalised(image)
  expect(pixels).toHaveLength(srgb.length)
  return { mean: meanDifference(pixels), warnings }
}

describe('a PNG becomes sRGB by what it says of its colours', () => {
  const pqValues = signals(toBt2020, each(pq))
  const p3Values = signals(toP3, each(toSrgb))
  it.each<[string, () => Buffer]>([
    ['PQ with BT.2020', () => png(pqValues, 16, [cicp(9, 16, 0, 1)])],
    ['PQ with BT.2020 and an alpha channel', () => png(pqValues, 16, [cicp(9, 16, 0, 1)], true)],
    ['PQ in 8 bits', () => png(pqValues, 8, [cicp(9, 16, 0, 1)])],
    ['PQ with Display P3', () => png(signals(toP3, each(pq)), 16, [cicp(12, 16, 0, 1)])],
    ['HLG with BT.2020', () => png(signals(toBt2020, hlgOfDisplay), 16, [cicp(9, 18, 0, 1)])],
    ['Display P3', () => png(p3Values, 8, [cicp(12, 13, 0, 1)])],
    ['Display P3 in 16 bits', () => png(p3Values, 16, [cicp(12, 13, 0, 1)])],
    ['BT.2020', () => png(signals(toBt2020, each(bt709)), 16, [cicp(9, 14, 0, 1)])],
    ['BT.709', () => png(signals(same, each(bt709)), 8, [cicp(1, 1, 0, 1)])],
    [
      'sRGB in narrow range',
      () =>
        png(
          signals(
            same,
            each((v) => (16 + 219 * toSrgb(v)) / 255),
          ),
          8,
          [cicp(1, 13, 0, 0)],
        ),
    ],
    [
      'cICP before sRGB and gAMA',
      () =>
        png(pqValues, 16, [cicp(9, 16, 0, 1), pngChunk('sRGB', Buffer.alloc(1)), gama(0.45455)]),
    ],
    [
      'linear light by gAMA',
      () =>
        png(
          signals(
            same,
            each((v) => v),
          ),
          16,
          [gama(1)],
        ),
    ],
    [
      'gamma 1.8',
      () =>
        png(
          signals(
            same,
            each((v) => v ** (1 / 1.8)),
          ),
          8,
          [gama(0.55556)],
        ),
    ],
    [
      'gamma 2.2',
      () =>
        png(
          signals(
            same,
            each((v) => v ** (1 / 2.2)),
          ),
          8,
          [gama(0.45455)],
        ),
    ],
    ['sRGB that says gamma 2.2', () => png(signals(same, each(toSrgb)), 8, [gama(0.45455)])],
    [
      'Adobe RGB by gAMA and cHRM',
      () =>
        png(
          signals(
            toAdobe,
            each((v) => v ** (256 / 563)),
          ),
          8,
          [gama(0.4547), adobeChromaticities],
        ),
    ],
    ['Display P3 by cHRM alone', () => png(p3Values, 8, [p3Chromaticities])],
    [
      'sRGB before gAMA',
      () => png(signals(same, each(toSrgb)), 8, [pngChunk('sRGB', Buffer.alloc(1)), gama(1)]),
    ],
  ])('%s', async (_name, make) => {
    const { mean, warnings } = await difference(make())
    expect(mean).toBeLessThan(3)
    expect(warnings).toEqual([])
  })

  it('with a warning where that is impossible, and then as sRGB', async () => {
    const values = signals(same, each(toSrgb))
    for (const chunk of [
      cicp(9, 16, 1, 1),
      cicp(2, 2, 0, 1),
      gama(0),
      numbers('cHRM', ...Array(8).fill(0)),
    ]) {
      const { mean, warnings } = await difference(png(values, 8, [chunk]))
      expect(mean).toBeLessThan(0.1)
      expect(warnings).toEqual(['IMAGE_COLOUR_PROFILE_IGNORED'])
    }
  })

  it('with a warning where HDR is brighter than white, keeping the form of the highlights', async () => {
    const bright = signals(
      toBt2020,
      each((v) => pq(4 * v)),
    )
    const { pixels, warnings } = await normalised(png(bright, 16, [cicp(9, 16, 0, 1)]))
    expect(warnings).toEqual(['IMAGE_HDR_COMPRESSED'])
    const white = (image: Buffer) => image.filter((value) => value === 255).length / image.length
    expect(white(pixels)).toBeLessThan(0.1)
    const lightness = (image: Buffer, at: number) => labOf(image, at)[0]
    for (let at = 0; at < pixels.length - 300; at += 999) {
      const [before, after] = [srgb, pixels].map(
        (image) => lightness(image, at) - lightness(image, at + 300),
      )
      if (Math.abs(before ?? 0) > 15) expect(Math.sign(after ?? 0)).toBe(Math.sign(before ?? 0))
    }
  })
})

describe('an ICC profile', () => {
  const image = () => sharp(original)
  it.each([
    [
      'of Display P3, in a JPEG',
      () => image().withIccProfile('p3').jpeg({ quality: 97, chromaSubsampling: '4:4:4' }),
    ],
    ['of Display P3, in a PNG', () => image().withIccProfile('p3').png()],
    [
      'of Display P3, in a PNG of 16 bits',
      () => image().toColourspace('rgb16').withIccProfile('p3').png(),
    ],
    [
      'of sRGB',
      () => image().withIccProfile('srgb').jpeg({ quality: 97, chromaSubsampling: '4:4:4' }),
    ],
  ])('%s is followed', async (_name, make) => {
    const { mean, warnings } = await difference(await make().toBuffer())
    expect(mean).toBeLessThan(3)
    expect(warnings).toEqual([])
  })

  const profileAt = (bytes: Buffer) => bytes.indexOf('ICC_PROFILE\0') + 14
  it.each<[string, (bytes: Buffer) => unknown]>([
    ['of Lab', (bytes) => bytes.write('Lab ', profileAt(bytes) + 16)],
    ['of grey', (bytes) => bytes.write('GRAY', profileAt(bytes) + 16)],
    ['of CMYK', (bytes) => bytes.write('CMYK', profileAt(bytes) + 16)],
    ['that links two devices', (bytes) => bytes.write('link', profileAt(bytes) + 12)],
    [
      'without its signature',
      (bytes) => bytes.fill(0, profileAt(bytes) + 36, profileAt(bytes) + 40),
    ],
    [
      'without its tables',
      (bytes) => bytes.fill(0xff, profileAt(bytes) + 132, profileAt(bytes) + 400),
    ],
  ])('%s, in a picture of sRGB, is ignored with a warning', async (_name, spoil) => {
    const bytes = await image()
      .withIccProfile('srgb')
      .jpeg({ quality: 97, chromaSubsampling: '4:4:4' })
      .toBuffer()
    spoil(bytes)
    const { mean, warnings } = await difference(bytes)
    expect(mean).toBeLessThan(3)
    expect(warnings).toEqual(['IMAGE_COLOUR_PROFILE_IGNORED'])
  })
})

/** A CMYK JPEG of four scans, each of which is that of a grey JPEG. */
async function inksJpeg(inks: readonly Buffer[], transform: 0 | 2, profile?: Buffer) {
  const greys = await Promise.all(
    inks.map((ink) =>
      sharp(ink, { raw: { width, height, channels: 1 } })
        .toColourspace('b-w')
        .jpeg({ quality: 95, optimiseCoding: false })
        .toBuffer(),
    ),
  )
  const segments = (bytes: Buffer) => {
    const found: { code: number; bytes: Buffer }[] = []
    for (let at = 2; at < bytes.length; ) {
      const code = bytes.readUInt8(at + 1)
      const end = code === 0xda ? bytes.length - 2 : at + 2 + bytes.readUInt16BE(at + 2)
      found.push({ code, bytes: bytes.subarray(at, end) })
      at = code === 0xda ? bytes.length : end
    }
    return found
  }
  const segment = (code: number, body: readonly number[]) =>
    Buffer.from([0xff, code, (body.length + 2) >> 8, (body.length + 2) & 0xff, ...body])
  const first = segments(greys[0] ?? Buffer.alloc(0))
  const tables = first
    .filter(({ code }) => code === 0xdb || code === 0xc4)
    .map(({ bytes }) => bytes)
  const frame = Buffer.from(first.find(({ code }) => code === 0xc0)?.bytes.subarray(4, 9) ?? [])
  const scans = greys.map((grey, index) => {
    const scan = Buffer.from(segments(grey).find(({ code }) => code === 0xda)?.bytes ?? [])
    scan[5] = index + 1
    return scan
  })
  const count = Math.ceil((profile?.length ?? 0) / 60_000)
  const parts = Array.from({ length: count }, (_, index) =>
    segment(0xe2, [
      ...Buffer.from('ICC_PROFILE\0'),
      ...[index + 1, count],
      ...(profile?.subarray(60_000 * index, 60_000 * (index + 1)) ?? []),
    ]),
  )
  return Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    segment(0xee, [...Buffer.from('Adobe'), 0, 100, 0, 0, 0, 0, transform]),
    ...parts,
    ...tables,
    segment(0xc0, [...frame, 4, ...[1, 2, 3, 4].flatMap((id) => [id, 0x11, 0])]),
    ...scans,
    Buffer.from([0xff, 0xd9]),
  ])
}

/** One ink or colour of every pixel. */
function plane(value: (r: number, g: number, b: number) => number): Buffer {
  return Buffer.from(
    Array.from({ length: srgb.length / 3 }, (_, pixel) => {
      const [r = 0, g = 0, b = 0] = srgb.subarray(3 * pixel, 3 * pixel + 3)
      return Math.min(255, Math.max(0, Math.round(value(r, g, b))))
    }),
  )
}

describe('a CMYK JPEG', () => {
  const all = plane(() => 255)
  const most = (r: number, g: number, b: number) => Math.max(r, g, b, 1)
  // Adobe writes inks inverted: 255 is none.
  const rgb = [plane((r) => r), plane((_r, g) => g), plane((_r, _g, b) => b)]
  // Of the inks, not of the colours.
  const ycc = [
    plane((r, g, b) => 255 - 0.299 * r - 0.587 * g - 0.114 * b),
    plane((r, g, b) => 128 + 0.168736 * r + 0.331264 * g - 0.5 * b),
    plane((r, g, b) => 128 - 0.5 * r + 0.418688 * g + 0.081312 * b),
  ]
  const underBlack = [
    plane((r, g, b) => (255 * r) / most(r, g, b)),
    plane((r, g, b) => (255 * g) / most(r, g, b)),
    plane((r, g, b) => (255 * b) / most(r, g, b)),
    plane(most),
  ]
  it.each<[string, () => Promise<Buffer>]>([
    ['of three inks', () => inksJpeg([...rgb, all], 0)],
    ['of three inks, as YCCK', () => inksJpeg([...ycc, all], 2)],
    ['whose black replaces the other inks', () => inksJpeg(underBlack, 0)],
    [
      'separated by a profile that it lacks',
      () =>
        sharp(original)
          .toColourspace('cmyk')
          .jpeg({ quality: 95, chromaSubsampling: '4:4:4' })
          .toBuffer(),
    ],
  ])('without a profile, %s, keeps its colours and warns', async (_name, make) => {
    const { mean, warnings } = await difference(await make())
    expect(mean).toBeLessThan(5)
    expect(warnings).toEqual(['IMAGE_CMYK_WITHOUT_PROFILE'])
  })

  it('with a profile has the black and the white of a display', async () => {
    const printed = await sharp(original)
      .toColourspace('cmyk')
      .withIccProfile('cmyk')
      .jpeg()
      .toBuffer()
    const { icc } = await sharp(printed).metadata()
    const halves = Buffer.from(all.map((_, pixel) => (pixel % width < width / 2 ? 0 : 255)))
    const { pixels, warnings } = await normalised(
      await inksJpeg([halves, halves, halves, halves], 0, icc),
    )
    expect(warnings).toEqual([])
    for (const channel of [0, 1, 2]) {
      expect(pixels[30 + channel]).toBeLessThan(24)
      expect(pixels[3 * (width - 10) + channel]).toBeGreaterThan(250)
    }
  })
})

describe('a JPEG whose Exif data names Adobe RGB, as cameras write it without a profile', () => {
  const values = signals(
    toAdobe,
    each((v) => v ** (256 / 563)),
  )
  const samples = Buffer.from(values.map((v) => Math.round(255 * Math.min(v, 1))))

  it.each([
    ['by its index', 0xffff, 'R03', true],
    ['by its colour space', 2, 'R98', true],
    ['and one that names sRGB stays as it is', 1, 'R98', false],
  ])('%s', async (_name, space, index, isAdobe) => {
    for (const isLittle of [true, false]) {
      const plain = await sharp(samples, { raw: { width, height, channels: 3 } })
        .jpeg({ quality: 97, chromaSubsampling: '4:4:4' })
        .toBuffer()
      const exif = exifOf(space, index, isLittle)
      const { mean, warnings } = await difference(
        Buffer.concat([plain.subarray(0, 2), exif, plain.subarray(2)]),
      )
      expect(warnings).toEqual([])
      if (isAdobe) expect(mean).toBeLessThan(3)
      else expect(mean).toBeGreaterThan(4)
    }
  })
})

/** The segment of three tables: of the picture, of the camera, and of interoperability. */
function exifOf(colourSpace: number, index: string, isLittle: boolean): Buffer {
  const short = (value: number) =>
    isLittle ? [value & 0xff, value >> 8] : [value >> 8, value & 0xff]
  const long = (value: number) => (isLittle ? [...short(value), 0, 0] : [0, 0, ...short(value)])
  const tiff = [
    ...[...Buffer.from(isLittle ? 'II' : 'MM'), ...short(42), ...long(8)],
    ...[...short(1), ...short(0x8769), ...short(4), ...long(1), ...long(26), ...long(0)],
    ...[...short(2), ...short(0xa001), ...short(3), ...long(1), ...short(colourSpace), 0, 0],
    ...[...short(0xa005), ...short(4), ...long(1), ...long(56), ...long(0)],
    ...[
      ...short(1),
      ...short(1),
      ...short(2),
      ...long(4),
      ...Buffer.from(`${index}\0`),
      ...long(0),
    ],
  ]
  const body = [...Buffer.from('Exif\0\0'), ...tiff]
  return Buffer.from([0xff, 0xe1, (body.length + 2) >> 8, (body.length + 2) & 0xff, ...body])
}
