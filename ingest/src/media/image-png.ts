import { pipeline } from 'node:stream/promises'
import { constants, crc32, createDeflate, createInflate, inflateSync } from 'node:zlib'

type Chunk = { readonly name: string; readonly begin: number; readonly body: Buffer }

/** What the chunks of a PNG say. */
export type Png = {
  readonly width: number
  readonly height: number
  readonly channels: number
  readonly bitDepth: number
  /** More than one makes an animation. */
  readonly pictures: number
  /** Its chunks that describe colours, by name; those with a wrong checksum left out. */
  readonly colour: ReadonlyMap<string, Buffer>
  /** Names of the chunks of these whose checksum is wrong. */
  readonly brokenColour: readonly string[]
  /** The ICC profile; undefined when it cannot be inflated. */
  readonly profile: Buffer | undefined
  /** From the signature to the end chunk, or to the end of the file. */
  readonly picture: Buffer
  readonly chunks: readonly Chunk[]
  /** Whether the file ends before the end chunk does. */
  readonly isCutOff: boolean
}

const signatureBytes = 8
const colourNames = new Set(['cICP', 'iCCP', 'sRGB', 'gAMA', 'cHRM'])
const profileMaxBytes = 8 * 2 ** 20

/** Undefined when it does not begin with a header chunk. */
export function readPng(bytes: Buffer): Png | undefined {
  const chunks = chunksOf(bytes)
  const [header] = chunks
  if (header?.name !== 'IHDR' || header.body.length < 13) return undefined
  const last = chunks.at(-1)
  const end = last ? last.begin + 12 + bytes.readUInt32BE(last.begin) : signatureBytes
  const hasEnd = last?.name === 'IEND' && end <= bytes.length
  const described = chunks.filter(({ name }) => colourNames.has(name))
  const whole = described.filter((chunk) => isWhole(bytes, chunk))
  const colour = new Map(whole.map(({ name, body }) => [name, body]))
  return {
    width: header.body.readUInt32BE(0),
    height: header.body.readUInt32BE(4),
    channels: channelsOf(header.body.readUInt8(9)),
    bitDepth: header.body.readUInt8(8),
    pictures: countPictures(chunks),
    colour,
    brokenColour: described.filter((chunk) => !whole.includes(chunk)).map(({ name }) => name),
    profile: inflateProfile(colour.get('iCCP')),
    picture: hasEnd ? bytes.subarray(0, end) : bytes,
    chunks,
    isCutOff: !hasEnd && end + 8 > bytes.length,
  }
}

/**
 * Writes a PNG again whose pixels are all there although its decoder refuses it: because a checksum of
 * a chunk is wrong while that of all its pixels is right, or because the file ends within the last
 * bytes. Undefined when pixels are lost.
 */
export async function mendPng(png: Png): Promise<Buffer | undefined> {
  const { chunks, picture: bytes } = png
  const pixels = chunks.filter(({ name }) => name === 'IDAT')
  const kept = chunks.filter(({ name }) => !['IDAT', 'IEND', 'acTL', 'fcTL', 'fdAT'].includes(name))
  // The size and the palette have no other checksum than their own.
  if (kept.some((chunk) => isCritical(chunk) && !isWhole(bytes, chunk))) return undefined
  const expected = inflatedBytes(png, chunks[0]?.body[12] === 1)
  const deflated: Buffer[] = []
  let inflated = 0
  try {
    await pipeline(
      pixels.map(({ body }) => body),
      // A stream that is cut off ends without an error, and a wrong checksum is one.
      createInflate({ finishFlush: constants.Z_SYNC_FLUSH }),
      async function* (parts: AsyncIterable<Buffer>) {
        for await (const part of parts) {
          inflated += part.length
          if (inflated > expected) throw new Error('more pixels than the header says')
          yield part
        }
      },
      createDeflate({ level: 1 }),
      async (parts: AsyncIterable<Buffer>) => {
        for await (const part of parts) deflated.push(part)
      },
    )
  } catch {
    return undefined
  }
  if (inflated < expected) return undefined
  return Buffer.concat([
    bytes.subarray(0, signatureBytes),
    ...kept
      .filter((chunk) => isWhole(bytes, chunk))
      .map((chunk) => chunkOf(chunk.name, chunk.body)),
    chunkOf('IDAT', Buffer.concat(deflated)),
    chunkOf('IEND', Buffer.alloc(0)),
  ])
}

/** Up to the end chunk, or to the last one that begins; that one may be cut off. */
function chunksOf(bytes: Buffer): Chunk[] {
  const chunks: Chunk[] = []
  let at = signatureBytes
  while (at + 8 <= bytes.length && chunks.at(-1)?.name !== 'IEND') {
    const length = bytes.readUInt32BE(at)
    const name = bytes.toString('latin1', at + 4, at + 8)
    if (!/^[A-Za-z]{4}$/.test(name)) break
    chunks.push({ name, begin: at, body: bytes.subarray(at + 8, at + 8 + length) })
    at += 12 + length
  }
  return chunks
}

function isWhole(bytes: Buffer, { begin, body }: Chunk): boolean {
  const end = begin + 8 + body.length
  if (body.length !== bytes.readUInt32BE(begin) || end + 4 > bytes.length) return false
  return crc32(bytes.subarray(begin + 4, end)) === bytes.readUInt32BE(end)
}

/** A decoder must know a chunk whose name begins with a capital letter. */
function isCritical({ name }: Chunk): boolean {
  return /^[A-Z]/.test(name)
}

function chunkOf(name: string, body: Buffer): Buffer {
  const chunk = Buffer.alloc(12 + body.length)
  chunk.writeUInt32BE(body.length, 0)
  chunk.write(name, 4, 'latin1')
  body.copy(chunk, 8)
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + body.length)), 8 + body.length)
  return chunk
}

/** The still picture counts unless it is the first frame. */
function countPictures(chunks: readonly Chunk[]): number {
  const names = chunks.map(({ name }) => name)
  const control = chunks.find(({ name }) => name === 'acTL')
  if (!control) return 1
  const claimed = control.body.length >= 4 ? control.body.readUInt32BE(0) : 0
  const frames = Math.max(claimed, names.filter((name) => name === 'fcTL').length)
  const first = names.indexOf('fcTL')
  const isApart = first > names.indexOf('IDAT')
  return Math.max(1, frames + (isApart ? 1 : 0))
}

/** Greyscale, RGB, palette, greyscale with alpha, RGB with alpha. A palette holds RGB. */
function channelsOf(colourType: number): number {
  return { 0: 1, 2: 3, 3: 3, 4: 2, 6: 4 }[colourType] ?? 3
}

/** How many bytes the pixels take, each row with its filter. */
function inflatedBytes({ width, height, bitDepth, chunks }: Png, isInterlaced: boolean): number {
  const colourType = chunks[0]?.body[9] ?? 0
  const bits = bitDepth * (colourType === 3 ? 1 : channelsOf(colourType))
  // For each pass of Adam7, where it begins and its steps.
  const passes = isInterlaced
    ? ([
        [0, 0, 8, 8],
        [4, 0, 8, 8],
        [0, 4, 4, 8],
        [2, 0, 4, 4],
        [0, 2, 2, 4],
        [1, 0, 2, 2],
        [0, 1, 1, 2],
      ] as const)
    : ([[0, 0, 1, 1]] as const)
  return passes.reduce((sum, [x, y, stepX, stepY]) => {
    const [columns, rows] = [Math.ceil((width - x) / stepX), Math.ceil((height - y) / stepY)]
    return sum + (columns > 0 ? rows * (1 + Math.ceil((columns * bits) / 8)) : 0)
  }, 0)
}

/** A name that ends with a zero, the method, which is zero, and the deflated profile. */
function inflateProfile(body: Buffer | undefined): Buffer | undefined {
  if (!body) return undefined
  try {
    return inflateSync(body.subarray(body.indexOf(0) + 2), { maxOutputLength: profileMaxBytes })
  } catch {
    return undefined
  }
}
