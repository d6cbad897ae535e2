import { type FileHandle, open } from 'node:fs/promises'
import {
  claimedMp3Frames,
  countMpegFrames,
  id3TagBytes,
  type MpegHeader,
  readMpegHeader,
} from './mpeg-header.ts'
import { isWavHeader } from './wav-parts.ts'

export type AudioFormat = 'wav' | 'mp3'

/** As much as tells a WAV file or a tag. */
const startBytes = 12
/** How much padding encoders leave between a tag and the first frame, at most. */
const paddingBytes = 4_096
/** Longer than any frame and the header behind it. */
const frameBytes = 2_048

/**
 * Recognises ordinary WAV and MP3 files by their first bytes; undefined for anything else, which
 * `locateAudio` may still find sound in. It reads a few kilobytes at most, in bounded time, because it
 * runs in the service itself and not in a limited child process.
 */
export async function detectAudioFormat(path: string): Promise<AudioFormat | undefined> {
  const file = await open(path, 'r')
  try {
    const start = await readAt(file, 0, startBytes)
    if (isWavHeader(start)) return 'wav'
    const frame = await readFrame(file, id3TagBytes(start))
    const isMp3 = readMpegHeader(frame)?.layer === 3 && countMpegFrames(frame, 0, 2) === 2
    return isMp3 ? 'mp3' : undefined
  } finally {
    await file.close()
  }
}

/** The bytes behind padding, from `offset` on: none when there is only padding. */
async function readFrame(file: FileHandle, offset: number): Promise<Buffer> {
  const frames = await readAt(file, offset, paddingBytes + frameBytes)
  const first = frames.subarray(0, paddingBytes).findIndex((byte) => byte !== 0)
  return first >= 0 ? frames.subarray(first) : Buffer.alloc(0)
}

/**
 * The length that an MP3 file claims in the Xing, Info or VBRI header of its first frame, which is at
 * `offset` or behind the tag; undefined when it makes no claim. Players show it and seek by it, but the
 * samples may differ.
 */
export async function claimedMp3Seconds(
  path: string,
  offset?: number,
): Promise<number | undefined> {
  const file = await open(path, 'r')
  try {
    const frame = await readFrame(file, offset ?? id3TagBytes(await readAt(file, 0, startBytes)))
    const header = readMpegHeader(frame)
    return header?.layer === 3 ? (claimedSeconds(frame, header) ?? undefined) : undefined
  } finally {
    await file.close()
  }
}

/** The same of a frame. Null: its header does not say. Undefined: it has no such header. */
export function claimedSeconds(frame: Buffer, header: MpegHeader): number | null | undefined {
  const frames = claimedMp3Frames(frame)
  return frames && (frames * header.samples) / header.sampleRate
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position)
  return buffer.subarray(0, bytesRead)
}
