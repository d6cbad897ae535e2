import { fstatSync, readSync } from 'node:fs'

/** One recording in a file: a WAV file that somebody glued to others has several. */
export type WavPart = {
  /** The `fmt ` chunk as it stands, whose extra bytes some codecs need. */
  readonly format: Buffer
  /** The codec. For WAVE_FORMAT_EXTENSIBLE, that of the sub-format. */
  readonly formatTag: number
  readonly channels: number
  readonly sampleRate: number
  readonly blockBytes: number
  readonly bits: number
  /** How many of the bits hold sound, for decoders that take this for the size of a sample; 0 when the file does not say. */
  readonly validBits: number
  /** Which loudspeakers the channels are for; 0 when the file does not say. */
  readonly channelMask: number
  readonly headerAt: number
  /** Where the samples begin, and how many bytes of them the file holds. */
  readonly start: number
  readonly bytes: number
  /** How many bytes of samples the header claims; undefined where the encoder was streaming. */
  readonly claimedBytes: number | undefined
}

export type WavParts = {
  readonly parts: readonly WavPart[]
  /** Bytes behind the samples that belong to no chunk. */
  readonly strayBytes: number
  /** An odd chunk stands without the byte that should pad it, which decoders do not expect. */
  readonly hasUnpaddedChunk: boolean
}

const maxChunks = 32
const maxParts = 1_000
const maxFormatBytes = 128
const extensibleTag = 0xfffe
/** Beyond any upload: whoever claims as much did not know the length when the header was written. */
const streamedBytes = 0x7f00_0000

const riffNames = new Set(['RIFF', 'RF64', 'BW64'])
const knownChunks = new Set(
  'fmt |data|LIST|fact|JUNK|junk|bext|id3 |ID3 |cue |smpl|inst|PEAK|iXML|PAD |ds64'.split('|'),
)

/**
 * Walks the chunks of a WAV file (RIFF, RF64 or BW64) that begins at `offset`, and of those glued
 * behind it. Undefined when it meets anything that it does not understand.
 */
export function readWavParts(input: number, offset = 0): WavParts | undefined {
  const fileBytes = fstatSync(input).size
  const walk = { input, fileBytes, hasUnpaddedChunk: false }
  const parts: WavPart[] = []
  let strayBytes = 0
  for (let at: number | undefined = offset; at !== undefined; ) {
    const part = readPart(walk, at)
    if (!part || parts.length >= maxParts) return undefined
    parts.push(part)
    const end = skipChunks(walk, part)
    at = findRiff(walk, end)
    // A pad byte, a line break or two.
    const stray = (at ?? fileBytes) - end
    strayBytes += stray > 2 ? stray : 0
  }
  return { parts, strayBytes, hasUnpaddedChunk: walk.hasUnpaddedChunk }
}

type Walk = { readonly input: number; readonly fileBytes: number; hasUnpaddedChunk: boolean }

/** Up to the samples. */
function readPart(walk: Walk, offset: number): WavPart | undefined {
  const { input } = walk
  const head = readAt(input, offset, 12)
  if (!head || !isWavHeader(head)) return undefined
  let format: ReturnType<typeof readFormat>
  let longBytes: number | undefined
  let position = offset + 12
  let isOdd = false
  for (let count = 0; count < maxChunks; count++) {
    const chunk = readChunk(walk, position, isOdd)
    if (!chunk) return undefined
    const { name, start, bytes } = chunk
    if (name === 'ds64') longBytes = Number(readAt(input, start, 16)?.readBigUInt64LE(8) ?? 0)
    if (name === 'fmt ') {
      format = readFormat(readAt(input, start, Math.min(bytes, maxFormatBytes)))
      if (!format) return undefined
    }
    if (name === 'data') {
      const claimed = bytes === 0xffff_ffff ? (longBytes ?? bytes) : bytes
      return format && { ...format, headerAt: offset, start, ...soundBytes(walk, start, claimed) }
    }
    position = start + bytes
    isOdd = bytes % 2 === 1
  }
  return undefined
}

function soundBytes(walk: Walk, start: number, claimed: number) {
  const held = walk.fileBytes - start
  const claimedBytes = claimed === 0 || claimed >= streamedBytes ? undefined : claimed
  if (claimedBytes !== undefined && claimedBytes <= held)
    return { bytes: claimedBytes, claimedBytes }
  return { bytes: (findRiff(walk, start) ?? walk.fileBytes) - start, claimedBytes }
}

/** The end of the chunks that stand behind the samples. */
function skipChunks(walk: Walk, sound: { start: number; bytes: number }): number {
  let position = sound.start + sound.bytes
  let isOdd = sound.bytes % 2 === 1
  for (let count = 0; count < maxChunks; count++) {
    const chunk = readChunk(walk, position, isOdd)
    // More samples are no chunk to skip: decoders would leave them out without a word.
    if (!chunk || chunk.name === 'data' || riffNames.has(chunk.name)) break
    if (chunk.start + chunk.bytes > walk.fileBytes) break
    position = chunk.start + chunk.bytes
    isOdd = chunk.bytes % 2 === 1
  }
  return position
}

/** The chunk behind another one, which ends at `end` and has a byte of padding when it is odd. */
function readChunk(walk: Walk, end: number, isOdd: boolean) {
  const found = chunkAt(walk.input, isOdd ? end + 1 : end)
  const isKnown = (name: string) => knownChunks.has(name) || riffNames.has(name)
  if (found && isKnown(found.name)) return found
  const unpadded = isOdd ? chunkAt(walk.input, end) : undefined
  if (unpadded && isKnown(unpadded.name)) {
    walk.hasUnpaddedChunk = true
    return unpadded
  }
  return found && /^[\x20-\x7e]{4}$/.test(found.name) ? found : undefined
}

function chunkAt(input: number, position: number) {
  const header = readAt(input, position, 8)
  if (!header) return undefined
  const name = header.toString('latin1', 0, 4)
  return { name, start: position + 8, bytes: header.readUInt32LE(4) }
}

function readFormat(chunk: Buffer | undefined) {
  if (!chunk || chunk.length < 16) return undefined
  const tag = chunk.readUInt16LE(0)
  const isExtensible = tag === extensibleTag && chunk.length >= 40
  return {
    format: chunk,
    formatTag: isExtensible ? chunk.readUInt16LE(24) : tag,
    channels: chunk.readUInt16LE(2),
    sampleRate: chunk.readUInt32LE(4),
    blockBytes: chunk.readUInt16LE(12),
    bits: chunk.readUInt16LE(14),
    validBits: isExtensible ? chunk.readUInt16LE(18) : 0,
    channelMask: isExtensible ? chunk.readUInt32LE(20) : 0,
  }
}

/** Whether a WAV file begins at a position. */
export function isWavHeader(bytes: Buffer, at = 0): boolean {
  const isRiff = riffNames.has(bytes.toString('latin1', at, at + 4))
  return isRiff && bytes.toString('latin1', at + 8, at + 12) === 'WAVE'
}

/** Where the next WAV file begins, at `from` or behind it. */
function findRiff({ input, fileBytes }: Walk, from: number): number | undefined {
  const step = 2 ** 20
  for (let at = from; at + 12 <= fileBytes; at += step) {
    const block = readAt(input, at, Math.min(step + 11, fileBytes - at))
    for (let hit = block?.indexOf('WAVE', 8) ?? -1; block && hit >= 0; ) {
      if (isWavHeader(block, hit - 8)) return at + hit - 8
      hit = block.indexOf('WAVE', hit + 1)
    }
  }
  return undefined
}

/** Exactly `length` bytes, or undefined at the end of the file. */
function readAt(input: number, position: number, length: number): Buffer | undefined {
  const buffer = Buffer.alloc(length)
  return readSync(input, buffer, 0, length, position) === length ? buffer : undefined
}
