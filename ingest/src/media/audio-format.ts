import { type FileHandle, open } from 'node:fs/promises'

export type AudioFormat = 'wav' | 'mp3'

/** How much padding encoders leave between a tag and the first frame, at most. */
const paddingBytes = 4_096

/**
 * Recognises WAV and MP3 by their bytes; undefined for anything else. It reads a few kilobytes at
 * most, in bounded time, because it runs in the service itself and not in a limited child process.
 */
export async function detectAudioFormat(path: string): Promise<AudioFormat | undefined> {
  const { start, frame } = await readStart(path)
  if (start.toString('latin1', 0, 4) === 'RIFF' && start.toString('latin1', 8, 12) === 'WAVE')
    return 'wav'
  return isLayer3Header(frame) ? 'mp3' : undefined
}

/** The first bytes, and those behind the tag and its padding: none when there is only padding. */
async function readStart(path: string): Promise<{ start: Buffer; frame: Buffer }> {
  const file = await open(path, 'r')
  try {
    const start = await readAt(file, 0, 12)
    const frames = await readAt(file, id3TagBytes(start), paddingBytes)
    const first = frames.findIndex((byte) => byte !== 0)
    return { start, frame: first >= 0 ? frames.subarray(first) : Buffer.alloc(0) }
  } finally {
    await file.close()
  }
}

/**
 * The length that an MP3 file claims in the Xing, Info or VBRI header of its first frame; undefined
 * when it makes no claim. Players show it and seek by it, but the samples may differ.
 */
export async function claimedMp3Seconds(path: string): Promise<number | undefined> {
  const { frame } = await readStart(path)
  const frames = isLayer3Header(frame) ? claimedFrames(frame) : undefined
  if (frames === undefined) return undefined
  const version = (frame.readUInt8(1) >> 3) & 3
  const rate = mpeg1SampleRates[(frame.readUInt8(2) >> 2) & 3] ?? Number.NaN
  if (version === 3) return (frames * 1152) / rate
  return (frames * 576) / (rate / (version === 2 ? 2 : 4))
}

/** The rates of MPEG-1. MPEG-2 has half of each, MPEG-2.5 a quarter. */
const mpeg1SampleRates = [44_100, 48_000, 32_000]

/** The header follows the side information, whose length depends on version and channels. */
function claimedFrames(frame: Buffer): number | undefined {
  const head = frame.subarray(0, 64)
  const xing = Math.max(head.indexOf('Xing'), head.indexOf('Info'))
  if (xing >= 0 && frame.length >= xing + 12)
    return (frame.readUInt32BE(xing + 4) & 1) === 0 ? undefined : frame.readUInt32BE(xing + 8)
  const vbri = head.indexOf('VBRI')
  return vbri >= 0 && frame.length >= vbri + 18 ? frame.readUInt32BE(vbri + 14) : undefined
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position)
  return buffer.subarray(0, bytesRead)
}

/** The length of the ID3v2 tag at the start, 0 without one. Its size field is four times seven bits (ID3v2.4, 3.1). */
function id3TagBytes(start: Buffer): number {
  if (start.length < 10 || start.toString('latin1', 0, 3) !== 'ID3') return 0
  const hasFooter = (start.readUInt8(5) & 0x10) !== 0
  const sevenBits = [6, 7, 8, 9].map((at) => start.readUInt8(at) & 0x7f)
  const bodyBytes = sevenBits.reduce((sum, bits) => sum * 128 + bits, 0)
  return 10 + bodyBytes + (hasFooter ? 10 : 0)
}

/** Frame sync, a known MPEG version, layer III, and a bit rate and sample rate that exist (ISO 11172-3, 2.4.1.3). */
function isLayer3Header(bytes: Buffer): boolean {
  if (bytes.length < 4) return false
  const [second, third] = [bytes.readUInt8(1), bytes.readUInt8(2)]
  const hasSync = bytes.readUInt8(0) === 0xff && (second & 0xe0) === 0xe0
  const version = (second >> 3) & 3
  const layer = (second >> 1) & 3
  return hasSync && version !== 1 && layer === 1 && third >> 4 !== 15 && ((third >> 2) & 3) !== 3
}
