import { type FileHandle, open } from 'node:fs/promises'

export type AudioFormat = 'wav' | 'mp3'

/** Junk that encoders leave between a tag and the first frame. */
const paddingBytes = 4_096

/**
 * Tells WAV and MP3 by their bytes; undefined for everything else. Reads at most a few kilobytes,
 * and in bounded time, because it runs in the service itself and not in a limited child.
 */
export async function detectAudioFormat(path: string): Promise<AudioFormat | undefined> {
  const file = await open(path, 'r')
  try {
    const start = await readAt(file, 0, 12)
    if (start.toString('latin1', 0, 4) === 'RIFF' && start.toString('latin1', 8, 12) === 'WAVE') {
      return 'wav'
    }
    const frames = await readAt(file, id3TagBytes(start), paddingBytes)
    const first = frames.findIndex((byte) => byte !== 0)
    return first >= 0 && isLayer3Header(frames.subarray(first)) ? 'mp3' : undefined
  } finally {
    await file.close()
  }
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position)
  return buffer.subarray(0, bytesRead)
}

/** The length of an ID3v2 tag at the start, 0 without one: ten bytes and four times seven bits (ID3v2.4, 3.1). */
function id3TagBytes(start: Buffer): number {
  if (start.length < 10 || start.toString('latin1', 0, 3) !== 'ID3') return 0
  const hasFooter = (start.readUInt8(5) & 0x10) !== 0
  const sevenBits = [6, 7, 8, 9].map((at) => start.readUInt8(at) & 0x7f)
  const bodyBytes = sevenBits.reduce((sum, bits) => sum * 128 + bits, 0)
  return 10 + bodyBytes + (hasFooter ? 10 : 0)
}

/** Frame sync, a known MPEG version, layer III, a real bit rate and sample rate (ISO 11172-3, 2.4.1.3). */
function isLayer3Header(bytes: Buffer): boolean {
  if (bytes.length < 4) return false
  const [second, third] = [bytes.readUInt8(1), bytes.readUInt8(2)]
  const hasSync = bytes.readUInt8(0) === 0xff && (second & 0xe0) === 0xe0
  const version = (second >> 3) & 3
  const layer = (second >> 1) & 3
  return hasSync && version !== 1 && layer === 1 && third >> 4 !== 15 && ((third >> 2) & 3) !== 3
}
