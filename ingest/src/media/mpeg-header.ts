/** What the four bytes in front of an MPEG audio frame say (ISO 11172-3, 2.4.1.3). */
export type MpegHeader = {
  readonly layer: 1 | 2 | 3
  readonly sampleRate: number
  /** Samples of each channel in one frame. */
  readonly samples: number
  /** The length of the frame, header included; 0 for free format, whose frames do not tell it. */
  readonly bytes: number
}

/** The rates of MPEG-1. MPEG-2 has half of each, MPEG-2.5 a quarter. */
const mpeg1SampleRates = [44_100, 48_000, 32_000]

/** In kbit/s, by index, 0 being free format. MPEG-2 has one table for layers II and III. */
const bitRates = {
  mpeg1: {
    1: [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    2: [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    3: [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  },
  mpeg2: {
    1: [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    2: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    3: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
  },
} as const

/** The header at a position; undefined when the bytes there cannot be one. */
export function readMpegHeader(bytes: Buffer, at = 0): MpegHeader | undefined {
  if (at + 4 > bytes.length || bytes[at] !== 0xff) return undefined
  const [second, third] = [bytes.readUInt8(at + 1), bytes.readUInt8(at + 2)]
  const version = (second >> 3) & 3
  const layer = 4 - ((second >> 1) & 3)
  if ((second & 0xe0) !== 0xe0 || version === 1 || !isLayer(layer)) return undefined
  const isMpeg1 = version === 3
  const bitRate = bitRates[isMpeg1 ? 'mpeg1' : 'mpeg2'][layer][third >> 4]
  const baseRate = mpeg1SampleRates[(third >> 2) & 3]
  if (bitRate === undefined || baseRate === undefined) return undefined
  const sampleRate = baseRate / (isMpeg1 ? 1 : version === 2 ? 2 : 4)
  const samples = layer === 1 ? 384 : layer === 3 && !isMpeg1 ? 576 : 1_152
  // Layer I counts in slots of four bytes.
  const slotBytes = layer === 1 ? 4 : 1
  const slots = Math.floor(((samples / 8) * bitRate * 1_000) / sampleRate / slotBytes)
  const padding = (third >> 1) & 1
  return { layer, sampleRate, samples, bytes: bitRate === 0 ? 0 : (slots + padding) * slotBytes }
}

function isLayer(layer: number): layer is 1 | 2 | 3 {
  return layer >= 1 && layer <= 3
}

/**
 * How many frames of one kind follow each other from a position, up to `enough`. The end of the file
 * behind a whole frame, or within the last one, counts as another.
 */
export function countMpegFrames(bytes: Buffer, at: number, enough: number): number {
  const first = readMpegHeader(bytes, at)
  let count = 0
  for (let position = at; first && count < enough; count++) {
    const header = readMpegHeader(bytes, position)
    if (!header && position + 4 > bytes.length) return count + 1
    if (header?.layer !== first.layer || header.sampleRate !== first.sampleRate) return count
    if (header.bytes === 0) return count
    position += header.bytes
  }
  return count
}

/**
 * The frames that the first frame of an MP3 file claims for it, in its Xing, Info or VBRI header. Null
 * for a header without a count, which is 0 where the encoder did not know it. Undefined when the frame
 * has no such header and holds sound.
 */
export function claimedMp3Frames(frame: Buffer): number | null | undefined {
  // The header follows the side information, whose length depends on version and channels.
  const head = frame.subarray(0, 64)
  const xing = Math.max(head.indexOf('Xing'), head.indexOf('Info'))
  if (xing >= 0 && frame.length >= xing + 12) {
    const hasCount = (frame.readUInt32BE(xing + 4) & 1) === 1
    return hasCount ? known(frame.readUInt32BE(xing + 8)) : null
  }
  const vbri = head.indexOf('VBRI')
  return vbri >= 0 && frame.length >= vbri + 18 ? known(frame.readUInt32BE(vbri + 14)) : undefined
}

/** What encoders write that stream and cannot come back: all zeros, or all ones. */
function known(count: number): number | null {
  return count === 0 || count === 0xffff_ffff ? null : count
}

/** The length of an ID3v2 tag at a position, 0 without one. Its size is four times seven bits (ID3v2.4, 3.1). */
export function id3TagBytes(bytes: Buffer, at = 0): number {
  if (at + 10 > bytes.length || bytes.toString('latin1', at, at + 3) !== 'ID3') return 0
  const hasFooter = (bytes.readUInt8(at + 5) & 0x10) !== 0
  const sevenBits = [6, 7, 8, 9].map((offset) => bytes.readUInt8(at + offset) & 0x7f)
  const bodyBytes = sevenBits.reduce((sum, bits) => sum * 128 + bits, 0)
  return 10 + bodyBytes + (hasFooter ? 10 : 0)
}

/** The length of an APE tag with a header at a position, 0 without one. */
export function apeTagBytes(bytes: Buffer, at: number): number {
  if (at + 32 > bytes.length || bytes.toString('latin1', at, at + 8) !== 'APETAGEX') return 0
  return 32 + bytes.readUInt32LE(at + 12)
}
