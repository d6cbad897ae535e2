import { isUtf8 } from 'node:buffer'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import type { FileTypeResult } from 'file-type'
import type { AudioLocation } from './checker-protocol.ts'
import { apeTagBytes, countMpegFrames, id3TagBytes, readMpegHeader } from './mpeg-header.ts'
import { isWavHeader } from './wav-parts.ts'

/** How far players look for the first frame. */
const junkBytes = 64 * 1_024
/** So many frames in a row are no accident. */
const certainFrames = 4
/** Frames within a tag count only in a long row: an attachment may look like a few. */
const framesInTag = 12
const readBytes = 512 * 1_024
/** Media types that `file-type` gives to sound of ours behind other bytes. Whatever it names else is no junk. */
const ownTypes = ['audio/mpeg', 'audio/wav', 'application/xml']
const maxTags = 16

/**
 * Finds the sound of a file that does not begin like a WAV or MP3 file: behind tags, padding and
 * junk, or in a tag that claims to be longer than it is. If there is none, it names what the file is.
 */
export async function locateAudio({ path }: { path: string }): Promise<AudioLocation> {
  const file = openSync(path, 'r')
  try {
    const head = readUpTo(file, 0, readBytes)
    const tagsEnd = skipTags(file, head)
    const inTag =
      tagsEnd > 0
        ? findSound(head.subarray(0, tagsEnd + readBytes / 8), 10, tagsEnd, framesInTag)
        : undefined
    if (inTag) return { ...inTag, junkBytes: 0 }
    const behind = tagsEnd < fstatSync(file).size ? readUpTo(file, tagsEnd, readBytes) : head
    const from = Math.max(
      0,
      behind.findIndex((byte) => byte !== 0),
    )
    const found = findSound(behind, from, from + junkBytes, certainFrames)
    // Few uploads need the detector, so that checkers start without it.
    const { fileTypeFromBuffer } = await import('file-type')
    const type = await fileTypeFromBuffer(head)
    const junk = found ? junkIn(behind.subarray(0, found.offset)) : 0
    // An archive or a video may hold a WAV file or frames of MP3, and more than that.
    if (found && (junk === 0 || !type || ownTypes.includes(type.mime)))
      return { kind: found.kind, offset: tagsEnd + found.offset, junkBytes: junk }
    return { kind: 'other', ...nameOf(head, behind, type) }
  } finally {
    closeSync(file)
  }
}

/** The end of the tags at the start: ID3v2 and APE, one behind the other. */
function skipTags(file: number, head: Buffer): number {
  let end = 0
  for (let count = 0; count < maxTags; count++) {
    const start = end < head.length - 32 ? head.subarray(end) : readUpTo(file, end, 32)
    const bytes = id3TagBytes(start) || apeTagBytes(start, 0)
    if (bytes === 0) break
    end += bytes
  }
  return end
}

/** The first RIFF header or row of MP3 frames that begins in a stretch of `bytes`. */
function findSound(bytes: Buffer, from: number, to: number, frames: number) {
  const stretch = bytes.subarray(0, to)
  for (let at = from; at < stretch.length; at++) {
    const byte = stretch[at]
    if (byte === 0x52 || byte === 0x42) {
      if (isWavHeader(bytes, at)) return { kind: 'wav', offset: at } as const
    } else if (byte === 0xff && readMpegHeader(bytes, at)?.layer === 3) {
      if (countMpegFrames(bytes, at, frames) >= frames) return { kind: 'mp3', offset: at } as const
    }
  }
  return undefined
}

/** Padding is no junk. */
function junkIn(bytes: Buffer): number {
  return bytes.every((byte) => byte === 0) || bytes.every((byte) => byte === 0xff)
    ? 0
    : bytes.length
}

function nameOf(
  head: Buffer,
  behind: Buffer,
  type: FileTypeResult | undefined,
): Omit<Extract<AudioLocation, { kind: 'other' }>, 'kind'> {
  const variant = variantOf(head) ?? mpegVariantOf(behind)
  if (variant)
    return {
      found: variant.startsWith('layer') || variant === 'free-format' ? 'audio/mpeg' : 'audio/wav',
      variant,
    }
  if (type && type.mime !== 'audio/mpeg') return { found: type.mime, extension: type.ext }
  if (isText(head)) {
    const isBase64 = /^\s*(data:[\w/;=.-]*base64,|UklGR|SUQz|\/\/[a-z0-9])/i.test(
      head.toString('latin1', 0, 64),
    )
    return { found: 'unknown', variant: isBase64 ? 'base64' : 'text' }
  }
  if (id3TagBytes(head) > 0) return { found: 'audio/mpeg' }
  if (isRawPcm(head)) return { found: 'unknown', variant: 'raw-pcm' }
  return { found: type?.mime ?? 'unknown' }
}

function variantOf(head: Buffer) {
  const name = head.toString('latin1', 0, 4)
  if (name === 'RIFX' && head.toString('latin1', 8, 12) === 'WAVE') return 'rifx'
  if (name === '.snd') return 'au'
  // The first half of the GUID that begins a Wave64 file.
  return head.toString('latin1', 0, 8) === 'riff\x2e\x91\xcf\x11' ? 'wave64' : undefined
}

function mpegVariantOf(bytes: Buffer) {
  const header = readMpegHeader(bytes)
  if (!header) return undefined
  if (header.layer !== 3)
    return countMpegFrames(bytes, 0, certainFrames) >= certainFrames
      ? (`layer-${header.layer}` as const)
      : undefined
  // Frames of free format do not tell their length, but they are all of one.
  const next = bytes.indexOf(bytes.subarray(0, 2), 4)
  const isFree = header.bytes === 0 && next > 0 && readMpegHeader(bytes, next)?.bytes === 0
  return isFree && [0, 1].some((pad) => readMpegHeader(bytes, 2 * next + pad)?.bytes === 0)
    ? 'free-format'
    : undefined
}

/** Raw samples of a telephone look like text in another alphabet, but are no UTF-8. */
function isText(bytes: Buffer): boolean {
  const start = bytes.subarray(0, 1_024)
  const isPrinted = start.every(
    (byte) => byte === 9 || byte === 10 || byte === 13 || (byte >= 32 && byte !== 127),
  )
  if (start.length === 0 || !isPrinted) return false
  return start.filter((byte) => byte >= 128).length < start.length / 10 || isUtf8Start(start)
}

/** The last character may be cut off. */
function isUtf8Start(start: Buffer): boolean {
  return [0, 1, 2, 3].some((cut) => isUtf8(start.subarray(0, start.length - cut)))
}

/** Neighbouring samples of a recording are alike; other bytes are not when they are read as samples. */
function isRawPcm(bytes: Buffer): boolean {
  const count = Math.floor(bytes.length / 2)
  if (count < 1_000) return false
  const samples = Array.from({ length: count }, (_, at) => bytes.readInt16LE(2 * at))
  const mean = samples.reduce((sum, sample) => sum + sample, 0) / count
  const size = samples.reduce((sum, sample) => sum + Math.abs(sample - mean), 0)
  const step = (distance: number) =>
    samples
      .slice(distance)
      .reduce((sum, sample, at) => sum + Math.abs(sample - (samples[at] ?? 0)), 0)
  return size > count && Math.min(step(1), step(2)) < 0.6 * size
}

function readUpTo(file: number, position: number, length: number): Buffer {
  const buffer = Buffer.alloc(length)
  return buffer.subarray(0, readSync(file, buffer, 0, length, position))
}
