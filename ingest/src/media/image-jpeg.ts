import { namesAdobeRgb } from './image-exif.ts'
import {
  createJpegFollower,
  type HuffmanTable,
  huffmanTable,
  type JpegComponent,
  type JpegScan,
} from './image-jpeg-scan.ts'

/** How pixels were lost, and the row in which the loss begins. */
export type JpegFault = { readonly problem: 'cut off' | 'damaged'; readonly fromRow: number }

/** What the markers and the scans of a JPEG say. */
export type Jpeg = {
  readonly width: number
  readonly height: number
  readonly channels: number
  readonly profile: Buffer | undefined
  /** Whether its Exif data names Adobe RGB. A profile counts more. */
  readonly isAdobeRgb: boolean
  /** Of more than 8 bits, lossless or hierarchical: hardly any decoder knows it. */
  readonly isRare: boolean
  /** From the first marker to the end marker, which is added where it is missing. */
  readonly picture: Buffer
  /** Undefined when every pixel is there. */
  readonly fault: JpegFault | undefined
  /** Arithmetic coding and other rarities are not followed: there, only the decoder can notice a fault. */
  readonly isFollowed: boolean
}

/**
 * Bytes that may be left over behind the last block of a scan, because some cameras write them. Damaged
 * data falls out of step: then some are missing or, mostly, more are left over.
 */
const strayBytes = 2

const endOfImage = Buffer.from([0xff, 0xd9])
const profileTag = 'ICC_PROFILE\0'
const exifTag = 'Exif\0\0'
/** Frame headers of lossless and of hierarchical coding. */
const rareFrames = [0xc3, 0xc5, 0xc6, 0xc7, 0xcb, 0xcd, 0xce, 0xcf]
const noCodes: HuffmanTable = new Uint16Array(0x1_0000)

type Frame = {
  width: number
  height: number
  isRare: boolean
  components: (JpegComponent & { quantisation: number; lowBits: Uint8Array })[]
  /** Undefined when its coding cannot be followed. */
  follower: ReturnType<typeof createJpegFollower> | undefined
}

type State = {
  /** The quantisation step of the means, by the number of the table. */
  meanSteps: number[]
  dc: HuffmanTable[]
  ac: HuffmanTable[]
  restartInterval: number
  profile: Buffer[]
  isAdobeRgb: boolean
  readonly maxPixels: number
  /** Room for the data of one interval. */
  readonly data: Buffer
  frame?: Frame
  fault?: JpegFault | undefined
}

/**
 * Reads the markers of a JPEG and follows its scans to their ends. The decoder paints over what it
 * cannot read, and never looks at what is left over behind the last pixel.
 *
 * An image of more than `maxPixels` is not followed. Undefined when there is no frame header, which no
 * decoder can do without.
 */
export function readJpeg(bytes: Buffer, maxPixels: number): Jpeg | undefined {
  const state: State = {
    ...{ meanSteps: [], dc: [], ac: [], restartInterval: 0, profile: [], maxPixels },
    isAdobeRgb: false,
    data: Buffer.allocUnsafe(bytes.length + 3),
  }
  let at = 2
  let hasEnd = false
  while (!hasEnd) {
    const found = markerAt(bytes, at)
    if (!found) break
    at = found.end
    hasEnd = found.code === 0xd9
    if (hasEnd || found.code === 0x01 || (found.code & 0xf8) === 0xd0) continue
    const length = at + 2 <= bytes.length ? bytes.readUInt16BE(at) : bytes.length
    if (at + length > bytes.length) {
      at -= 2
      break
    }
    const body = bytes.subarray(at + 2, at + length)
    at += length
    if (found.code === 0xda) at = readScan(bytes, at, body, state)
    else readSegment(found.code, body, state)
  }
  const { frame, profile } = state
  if (!frame) return undefined
  const read = bytes.subarray(0, at)
  const picture = hasEnd ? read : Buffer.concat([read, endOfImage])
  return {
    width: frame.width,
    height: frame.height,
    channels: frame.components.length,
    profile: profile.length > 0 ? joined(profile) : undefined,
    isAdobeRgb: state.isAdobeRgb,
    isRare: frame.isRare,
    picture,
    fault: state.fault ?? missing(frame, hasEnd),
    isFollowed: frame.follower !== undefined,
  }
}

/** The next marker. Bytes in front of it and 0xFF that fill are skipped, as decoders do. */
function markerAt(bytes: Buffer, from: number): { code: number; end: number } | undefined {
  let at = bytes.indexOf(0xff, from)
  while (at >= 0) {
    const code = bytes[at + 1]
    if (code === undefined) return undefined
    if (code !== 0 && code !== 0xff) return { code, end: at + 2 }
    at = bytes.indexOf(0xff, at + 1)
  }
  return undefined
}

function readSegment(code: number, body: Buffer, state: State): void {
  if (code === 0xdb) readQuantisation(body, state)
  else if (code === 0xc4) readHuffman(body, state)
  else if (code === 0xdd && body.length >= 2) state.restartInterval = body.readUInt16BE(0)
  else if (code === 0xe2 && body.toString('latin1', 0, profileTag.length) === profileTag)
    state.profile.push(body)
  else if (code === 0xe1 && body.toString('latin1', 0, exifTag.length) === exifTag)
    state.isAdobeRgb ||= namesAdobeRgb(body.subarray(exifTag.length))
  // 0xC0 to 0xCF are frame headers, except the tables of Huffman and arithmetic coding and an extension.
  else if (code >= 0xc0 && code <= 0xcf && code !== 0xc8 && code !== 0xcc) {
    const frame = readFrame(code, body, state.maxPixels)
    if (frame) state.frame ??= frame
  }
}

function readQuantisation(body: Buffer, { meanSteps }: State): void {
  for (let at = 0; at + 65 <= body.length; ) {
    const head = body.readUInt8(at)
    const isWide = head >> 4 > 0
    meanSteps[head & 0xf] = isWide ? body.readUInt16BE(at + 1) : body.readUInt8(at + 1)
    at += isWide ? 129 : 65
  }
}

function readHuffman(body: Buffer, { dc, ac }: State): void {
  for (let at = 0; at + 17 <= body.length; ) {
    const head = body.readUInt8(at)
    const total = body.subarray(at + 1, at + 17).reduce((sum, count) => sum + count, 0)
    const tables = head >> 4 === 0 ? dc : ac
    tables[head & 0xf] = huffmanTable(body.subarray(at + 1, at + 17 + total))
    at += 17 + total
  }
}

function readFrame(code: number, body: Buffer, maxPixels: number): Frame | undefined {
  const count = body[5] ?? 0
  if (body.length < 6 + 3 * count || count === 0) return undefined
  const [height, width] = [body.readUInt16BE(1), body.readUInt16BE(3)]
  const components = Array.from({ length: count }, (_, index) => {
    const [id = 0, sampling = 0, quantisation = 0] = body.subarray(6 + 3 * index)
    const lowBits = new Uint8Array(64).fill(0xff)
    return { id, h: sampling >> 4, v: sampling & 0xf, meanStep: 1, quantisation, lowBits }
  })
  const isHuffman = code >= 0xc0 && code <= 0xc2
  const isSampled = components.every(({ h, v }) => h >= 1 && h <= 4 && v >= 1 && v <= 4)
  const isMeasured = width > 0 && height > 0 && width * height <= maxPixels
  const isPlain = isHuffman && body[0] === 8 && isSampled && isMeasured
  return {
    ...{ width, height, components },
    isRare: body[0] !== 8 || rareFrames.includes(code),
    follower: isPlain ? createJpegFollower({ width, height, components }) : undefined,
  }
}

/** Follows one scan to the marker behind it and returns where that is. */
function readScan(bytes: Buffer, begin: number, header: Buffer, state: State): number {
  const { frame } = state
  const scan = frame?.follower && scanOf(header, frame, state)
  if (!scan || !frame.follower) {
    if (frame) frame.follower = undefined
    return endOfScan(bytes, begin)
  }
  const { units, rowOf, decode } = frame.follower.follow(scan)
  const { data } = state
  let at = begin
  let unit = 0
  for (let interval = 0; unit < units; interval++) {
    const { length, restart, next } = unstuff(bytes, at, data)
    const expected = Math.min(state.restartInterval || units, units - unit)
    const read = decode(data, 8 * length, unit, expected)
    const isWhole = read.units === expected && isPadding(data.subarray(0, length), read.bits)
    const isInOrder = unit + expected === units || restart === interval % 8
    at = next
    if (!isWhole || !isInOrder) {
      const isCut = read.bits > 8 * length && next >= bytes.length
      const row = rowOf(unit + Math.min(read.units, expected - 1))
      state.fault ??= { problem: isCut ? 'cut off' : 'damaged', fromRow: row }
      break
    }
    unit += expected
  }
  for (const component of frame.components) {
    const isPart = scan.parts.some((part) => part.component === component)
    if (isPart) component.lowBits.fill(scan.lowBit, scan.from, scan.to + 1)
  }
  return endOfScan(bytes, at)
}

/** Undefined when it cannot be followed, for instance because it relies on the decoder's own tables. */
function scanOf(header: Buffer, frame: Frame, state: State): JpegScan | undefined {
  const count = header[0] ?? 0
  const [from = 0, to = 63, bits = 0] = header.subarray(1 + 2 * count)
  const parts: JpegScan['parts'][number][] = []
  for (let at = 1; at < 1 + 2 * count; at += 2) {
    const [id, tables = 0] = header.subarray(at)
    const component = frame.components.find((one) => one.id === id)
    const [dc, ac] = [state.dc[tables >> 4], state.ac[tables & 0xf]]
    if (!component || (from === 0 && !dc) || (to > 0 && !ac)) return undefined
    component.meanStep = state.meanSteps[component.quantisation] ?? 1
    parts.push({ component, dc: dc ?? noCodes, ac: ac ?? noCodes })
  }
  const isValid = count > 0 && from <= to && to <= 63 && (from === 0 || count === 1)
  return isValid ? { parts, from, to, isRefinement: bits >> 4 > 0, lowBit: bits & 0xf } : undefined
}

/** Copies one interval between two restart markers to the beginning of `data`, without its stuffing. */
function unstuff(bytes: Buffer, from: number, data: Buffer) {
  let [at, length] = [from, 0]
  for (;;) {
    const found = bytes.indexOf(0xff, at)
    const code = found < 0 ? undefined : bytes[found + 1]
    const end = found < 0 ? bytes.length : found + (code === 0 ? 1 : 0)
    length += bytes.copy(data, length, at, end)
    if (code === 0) at = found + 2
    else if (code === 0xff) at = found + 1
    else {
      data.fill(0, length, length + 3)
      const isRestart = code !== undefined && (code & 0xf8) === 0xd0
      const next = code === undefined ? bytes.length : isRestart ? found + 2 : found
      return { length, restart: isRestart ? code & 7 : undefined, next }
    }
  }
}

/** The next marker that is no restart marker, or the end of the bytes. */
function endOfScan(bytes: Buffer, from: number): number {
  let found = markerAt(bytes, from)
  while (found && (found.code & 0xf8) === 0xd0) found = markerAt(bytes, found.end)
  return found ? found.end - 2 : bytes.length
}

/**
 * Whether nothing but padding is left over. The last byte is filled up with ones, by some encoders with
 * zeros. Some cameras write a few bytes more, and preallocated files are full of zeros.
 */
function isPadding(data: Buffer, bits: number): boolean {
  const rest = data.subarray(bits >> 3)
  if (rest.length === 0) return true
  const mask = 0xff >> (bits & 7)
  const last = rest.readUInt8(0) & mask
  const stray = rest.subarray(mask === 0xff ? 0 : 1)
  const isFiller = stray.every((byte) => byte === stray[0]) && (stray[0] === 0 || stray[0] === 0xff)
  if (mask === 0xff || last === mask) return stray.length <= strayBytes || isFiller
  return last === 0 && stray.length === 0
}

/** Without an end marker, a progressive JPEG may lack its last scans. A colour may be missing from any. */
function missing({ components, follower }: Frame, hasEnd: boolean) {
  if (!follower) return undefined
  const isComplete = components.every(({ lowBits }) =>
    hasEnd ? lowBits[0] !== 0xff : lowBits.every((bit) => bit === 0),
  )
  return isComplete ? undefined : ({ problem: 'cut off', fromRow: 0 } as const)
}

/** The parts of a profile in their order. Each begins with its number, from 1 on, and their count. */
function joined(parts: readonly Buffer[]): Buffer {
  const at = profileTag.length
  const sorted = [...parts].sort((a, b) => (a[at] ?? 0) - (b[at] ?? 0))
  return Buffer.concat(sorted.map((part) => part.subarray(at + 2)))
}
