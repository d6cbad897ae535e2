import { closeSync, openSync, readSync, writeFileSync } from 'node:fs'
import type { WavReport } from './checker-protocol.ts'
import { readWavParts, type WavPart, type WavParts } from './wav-parts.ts'

const blockBytes = 2 ** 20
const pcmTag = 1
const floatTag = 3
/** The loudspeakers that one or two channels are usually for: none given, centre, left and right. */
const plainMasks = [[0], [0, 4], [0, 3]]
/** Samples at or beyond twice full scale are a matter of scale, unless they are as few as these. */
const fewSamples = 0.001
/** How far beyond the level of the others a single sample is no sound: 18 dB. */
const outlierOctaves = 3

/**
 * Looks at a WAV file that is not plain, which begins at `offset`. Where decoders would stumble or lose
 * sound, it writes the whole sound behind a header that holds: recordings glued together, odd chunks
 * without their pad, lengths that are missing or wrong, floating-point samples that are no numbers or
 * far out of range. Null when it does not understand the file.
 */
export function repairWav(request: {
  path: string
  offset: number
  out: string
}): WavReport | null {
  const { path, offset, out } = request
  const input = openSync(path, 'r')
  try {
    const wav = readWavParts(input, offset)
    const [first] = wav?.parts ?? []
    if (!wav || !first) return null
    const report = describe(wav, first, offset)
    if (report.differing) return report
    const floats = floatsOf(first, input, wav.parts)
    const isWritten = offset > 0 || needsRewriting(wav, first) || floats?.needRepair === true
    if (isWritten) write(input, out, first, wav.parts, floats?.repair)
    const repaired = { badSamples: floats?.bad ?? 0, scale: floats?.scale ?? 1 }
    return { ...report, ...repaired, isWritten }
  } finally {
    closeSync(input)
  }
}

function describe(wav: WavParts, first: WavPart, offset: number): WavReport {
  const { formatTag, channels, channelMask, sampleRate, bits, blockBytes } = first
  const layout = ({ formatTag, channels, sampleRate, bits, blockBytes }: WavPart) =>
    [formatTag, channels, sampleRate, bits, blockBytes].join()
  const isAlike = wav.parts.every((part) => layout(part) === layout(first))
  const bytesPerSecond = Math.max(1, sampleRate * first.blockBytes)
  const missing = wav.parts.map(({ claimedBytes, bytes }) => (claimedBytes ?? bytes) - bytes)
  return {
    ...{ formatTag, channels, channelMask, sampleRate, bits, blockBytes },
    parts: wav.parts.length,
    differing: isAlike ? undefined : wav.parts.map(({ headerAt }) => headerAt - offset),
    isWritten: false,
    missingSeconds: missing.reduce((sum, bytes) => sum + bytes, 0) / bytesPerSecond,
    straySeconds: wav.strayBytes / bytesPerSecond,
    badSamples: 0,
    scale: 1,
  }
}

function needsRewriting({ parts, hasUnpaddedChunk }: WavParts, first: WavPart): boolean {
  const hasOddSizes = parts.some(
    ({ bytes, claimedBytes, blockBytes }) => bytes !== claimedBytes || bytes % blockBytes !== 0,
  )
  const hasOddMask = plainMasks[first.channels]?.includes(first.channelMask) === false
  const hasOddBits = first.validBits !== 0 && first.validBits !== first.bits
  return parts.length > 1 || hasUnpaddedChunk || hasOddSizes || hasOddMask || hasOddBits
}

type Repair = (block: Buffer) => void

function write(
  input: number,
  out: string,
  first: WavPart,
  parts: readonly WavPart[],
  repair: Repair | undefined,
): void {
  const output = openSync(out, 'w')
  try {
    const ranges = parts.map(({ start, bytes }) => ({
      start,
      bytes: bytes - (bytes % Math.max(1, first.blockBytes)),
    }))
    writeFileSync(
      output,
      header(
        first,
        ranges.reduce((sum, { bytes }) => sum + bytes, 0),
      ),
    )
    for (const range of ranges)
      for (const block of blocksOf(input, range)) {
        repair?.(block)
        writeFileSync(output, block)
      }
  } finally {
    closeSync(output)
  }
}

/** It names no loudspeakers for one or two channels, so that no decoder mixes one of them away. */
function header(part: WavPart, dataBytes: number): Buffer {
  const isPcm = part.formatTag === pcmTag || part.formatTag === floatTag
  const chunk = Buffer.from(isPcm && part.channels <= 2 ? part.format.subarray(0, 16) : part.format)
  if (chunk.length === 16) chunk.writeUInt16LE(part.formatTag, 0)
  // ffmpeg takes the valid bits for the size of a sample: 24 of 32 would be noise.
  else if (part.validBits > 0) chunk.writeUInt16LE(part.bits, 18)
  const head = Buffer.alloc(20)
  head.write('RIFF', 0, 'latin1')
  head.writeUInt32LE(chunk.length + 20 + dataBytes, 4)
  head.write('WAVEfmt ', 8, 'latin1')
  head.writeUInt32LE(chunk.length, 16)
  const data = Buffer.alloc(8)
  data.write('data', 0, 'latin1')
  data.writeUInt32LE(dataBytes, 4)
  return Buffer.concat([head, chunk, data])
}

/** The bytes of a range, in blocks that begin at an address where floats may stand. */
function* blocksOf(input: number, { start, bytes }: { start: number; bytes: number }) {
  const buffer = Buffer.from(new ArrayBuffer(blockBytes))
  for (let done = 0; done < bytes; done += blockBytes) {
    const length = Math.min(blockBytes, bytes - done)
    if (readSync(input, buffer, 0, length, start + done) !== length)
      throw new Error('the file shrank while it was read')
    yield buffer.subarray(0, length)
  }
}

/** What floating-point samples need so that they are sound; undefined for other samples. */
function floatsOf(first: WavPart, input: number, parts: readonly WavPart[]) {
  if (first.formatTag !== floatTag || (first.bits !== 32 && first.bits !== 64)) return undefined
  const samplesOf = (block: Buffer) => {
    const bytes = first.bits / 8
    const count = Math.floor(block.length / bytes)
    return bytes === 4
      ? new Float32Array(block.buffer, block.byteOffset, count)
      : new Float64Array(block.buffer, block.byteOffset, count)
  }
  const range = new FloatRange()
  for (const part of parts) for (const block of blocksOf(input, part)) range.add(samplesOf(block))
  const { limit, scale } = range.verdict()
  const bad = range.countBeyond(limit)
  const repair: Repair = (block) => {
    const samples = samplesOf(block)
    for (let at = 0; at < samples.length; at++) {
      const sample = samples[at] ?? 0
      samples[at] = Math.abs(sample) <= limit ? sample * scale : 0
    }
  }
  return { bad, scale, needRepair: bad > 0 || scale !== 1, repair }
}

/** Finds out on which scale floating-point samples are. Samples beyond 1 are counted by octave. */
class FloatRange {
  #samples = 0
  #notFinite = 0
  readonly #counts = new Float64Array(1_024)
  readonly #peaks = new Float64Array(1_024)

  add(samples: Float32Array | Float64Array): void {
    this.#samples += samples.length
    for (let at = 0; at < samples.length; at++) {
      const size = Math.abs(samples[at] ?? 0)
      if (size < 1) continue
      if (!Number.isFinite(size)) {
        this.#notFinite += 1
        continue
      }
      const octave = Math.min(1_023, Math.floor(Math.log2(size)))
      this.#counts[octave] = (this.#counts[octave] ?? 0) + 1
      if (size > (this.#peaks[octave] ?? 0)) this.#peaks[octave] = size
    }
  }

  /** Samples beyond the limit are no sound; the others are to be multiplied by the scale. */
  verdict(): { limit: number; scale: number } {
    let octave = 1_023
    for (let louder = 0; octave > 0; octave--) {
      louder += this.#counts[octave] ?? 0
      if (louder > fewSamples * this.#samples) break
    }
    const limit = 2 ** (octave + outlierOctaves)
    if (octave === 0) return { limit, scale: 1 }
    const peak = Math.max(...this.#peaks.subarray(0, octave + outlierOctaves))
    return { limit, scale: 1 / peak }
  }

  countBeyond(limit: number): number {
    const beyond = this.#counts.subarray(Math.min(1_024, Math.log2(limit)))
    return this.#notFinite + beyond.reduce((sum, count) => sum + count, 0)
  }
}
