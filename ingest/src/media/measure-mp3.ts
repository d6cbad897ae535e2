import { readFileSync } from 'node:fs'
import { claimedSeconds } from './audio-format.ts'
import type { Mp3Report } from './checker-protocol.ts'
import { apeTagBytes, countMpegFrames, id3TagBytes, readMpegHeader } from './mpeg-header.ts'
import { isWavHeader } from './wav-parts.ts'

/**
 * Walks the frames of an MP3 file and returns the recordings of which it is glued together. One begins
 * at each header that claims a length, and behind each tag.
 */
export function measureMp3({ path, offset }: { path: string; offset: number }): Mp3Report {
  const bytes = readFileSync(path)
  const parts: Mp3Report['parts'] = []
  let isBehindTag = false
  let wavAt: number | undefined
  let [frameBytes, lostBytes, gapBytes] = [0, 0, 0]
  for (let at = offset; at + 4 <= bytes.length; ) {
    const tag = id3TagBytes(bytes, at) || apeTagBytes(bytes, at) || id3v1TagBytes(bytes, at)
    const header = readMpegHeader(bytes, at)
    if (tag > 0) {
      isBehindTag = true
      at += tag
    } else if (header?.layer === 3 && header.bytes > 0) {
      const claim = claimedSeconds(bytes.subarray(at, at + header.bytes), header)
      if (claim !== undefined || isBehindTag || parts.length === 0)
        parts.push({ claimedSeconds: claim ?? null, seconds: 0 })
      const part = parts.at(-1)
      if (part && claim === undefined) part.seconds += header.samples / header.sampleRate
      isBehindTag = false
      frameBytes += header.bytes
      // Only a gap with sound behind it is one.
      if (gapBytes > negligibleBytes) lostBytes += gapBytes
      gapBytes = 0
      at += header.bytes
    } else {
      if (isWavHeader(bytes, at)) wavAt ??= at
      const next = nextFrame(bytes, at + 1)
      gapBytes += next - at
      at = next
    }
  }
  const seconds = parts.reduce((sum, part) => sum + part.seconds, 0)
  return {
    parts: parts.filter((part) => part.seconds > 0),
    wavAt,
    lostSeconds: frameBytes === 0 ? 0 : (lostBytes / frameBytes) * seconds,
  }
}

/** Padding between recordings. */
const negligibleBytes = 64

function id3v1TagBytes(bytes: Buffer, at: number): number {
  return bytes.toString('latin1', at, at + 3) === 'TAG' ? 128 : 0
}

function nextFrame(bytes: Buffer, from: number): number {
  let at = bytes.indexOf(0xff, from)
  while (at >= 0 && countMpegFrames(bytes, at, 2) < 2) at = bytes.indexOf(0xff, at + 1)
  const tag = bytes.subarray(from, at < 0 ? undefined : at).indexOf('ID3')
  if (tag >= 0) return from + tag
  return at < 0 ? bytes.length : at
}
