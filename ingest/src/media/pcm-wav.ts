import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs'
import type { NormalisedWav } from './checker-protocol.ts'

/** The sample rates that are kept. Others are resampled to the nearest of these. */
export const keptSampleRates = [
  8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
]

const headerBytes = 44
const chunkBytes = 2 ** 20
const maxChunks = 32
const pcmFormat = 1
const bytesPerSample = 2
const fullScale = 2 ** 15

type PcmLayout = {
  readonly sampleRate: number
  readonly channels: number
  readonly start: number
  readonly bytes: number
}

/**
 * Copies the samples of a plain WAV file behind a new header of 44 bytes, which drops every other
 * chunk, and measures them. Returns undefined and writes nothing when the file is not 16-bit PCM of a
 * kept rate with one or two channels and true sizes, or is longer than `maxSeconds`.
 *
 * It is the last step for every recording and the only one for plain ones, because starting a decoder
 * costs many times as much.
 */
export function normalisePcmWav(request: {
  path: string
  out: string
  maxSeconds: number
}): NormalisedWav | undefined {
  const { path, out, maxSeconds } = request
  return withFile(path, 'r', (input) => {
    const layout = readLayout(input)
    if (!layout || !keptSampleRates.includes(layout.sampleRate)) return undefined
    if (layout.bytes / (layout.channels * bytesPerSample * layout.sampleRate) > maxSeconds) {
      return undefined
    }
    return withFile(out, 'w', (output) => copy(input, output, layout))
  })
}

function withFile<T>(path: string, flags: string, work: (file: number) => T): T {
  const file = openSync(path, flags)
  try {
    return work(file)
  } finally {
    closeSync(file)
  }
}

/** Walks the chunks up to the samples. Gives up at anything unusual. */
function readLayout(input: number): PcmLayout | undefined {
  const riff = readAt(input, 0, 12)
  if (riff?.toString('latin1', 0, 4) !== 'RIFF' || riff.toString('latin1', 8, 12) !== 'WAVE') {
    return undefined
  }
  let format: { sampleRate: number; channels: number } | undefined
  let position = 12
  for (let chunk = 0; chunk < maxChunks; chunk++) {
    const header = readAt(input, position, 8)
    if (!header) return undefined
    const name = header.toString('latin1', 0, 4)
    const bytes = header.readUInt32LE(4)
    const start = position + 8
    if (name === 'data') return format && soundLayout(input, { ...format, start, bytes })
    if (name === 'fmt ') {
      format = readFormat(readAt(input, start, 16))
      if (!format) return undefined
    }
    position = start + bytes + (bytes % 2)
  }
  return undefined
}

function readFormat(chunk: Buffer | undefined) {
  if (!chunk) return undefined
  const channels = chunk.readUInt16LE(2)
  const isPlain =
    chunk.readUInt16LE(0) === pcmFormat &&
    (channels === 1 || channels === 2) &&
    chunk.readUInt16LE(12) === channels * bytesPerSample &&
    chunk.readUInt16LE(14) === bytesPerSample * 8
  return isPlain ? { sampleRate: chunk.readUInt32LE(4), channels } : undefined
}

/** The layout if its sizes hold: whole samples, at least one, and all of them in the file. */
function soundLayout(input: number, layout: PcmLayout): PcmLayout | undefined {
  const { bytes, channels, start, sampleRate } = layout
  if (bytes === 0 || sampleRate === 0 || bytes % (channels * bytesPerSample) !== 0) return undefined
  return readAt(input, start + bytes - 1, 1) && layout
}

/** Exactly `length` bytes, or undefined at the end of the file. */
function readAt(input: number, position: number, length: number): Buffer | undefined {
  const buffer = Buffer.alloc(length)
  return readSync(input, buffer, 0, length, position) === length ? buffer : undefined
}

/** Writes the new header and the samples, and hashes and measures them on the way. */
function copy(input: number, output: number, layout: PcmLayout): NormalisedWav {
  const { sampleRate, channels, start, bytes } = layout
  const header = canonicalHeader(layout)
  const hash = createHash('sha256').update(header)
  writeFileSync(output, header)

  // An Int16Array needs an aligned buffer of its own: a slice of Node's pool may start at an odd byte.
  const samples = new Int16Array(chunkBytes / bytesPerSample)
  const buffer = Buffer.from(samples.buffer)
  let [lowest, highest] = [fullScale, -fullScale]
  for (let done = 0; done < bytes; ) {
    const length = Math.min(chunkBytes, bytes - done)
    if (readSync(input, buffer, 0, length, start + done) !== length) {
      throw new Error('the file shrank while it was read')
    }
    const part = buffer.subarray(0, length)
    hash.update(part)
    writeFileSync(output, part)
    const range = rangeOf(samples.subarray(0, length / bytesPerSample))
    lowest = Math.min(lowest, range.lowest)
    highest = Math.max(highest, range.highest)
    done += length
  }
  return {
    bytes: headerBytes + bytes,
    sha256: hash.digest('hex'),
    samples: bytes / (channels * bytesPerSample),
    sampleRate,
    peak: (highest - lowest) / 2 / fullScale,
  }
}

function rangeOf(samples: Int16Array): { lowest: number; highest: number } {
  let [lowest, highest] = [fullScale, -fullScale]
  for (const sample of samples) {
    if (sample < lowest) lowest = sample
    if (sample > highest) highest = sample
  }
  return { lowest, highest }
}

function canonicalHeader({ sampleRate, channels, bytes }: PcmLayout): Buffer {
  const header = Buffer.alloc(headerBytes)
  const blockBytes = channels * bytesPerSample
  header.write('RIFF', 0, 'latin1')
  header.writeUInt32LE(headerBytes - 8 + bytes, 4)
  header.write('WAVEfmt ', 8, 'latin1')
  header.writeUInt32LE(16, 16)
  header.writeUInt16LE(pcmFormat, 20)
  header.writeUInt16LE(channels, 22)
  header.writeUInt32LE(sampleRate, 24)
  header.writeUInt32LE(sampleRate * blockBytes, 28)
  header.writeUInt16LE(blockBytes, 32)
  header.writeUInt16LE(bytesPerSample * 8, 34)
  header.write('data', 36, 'latin1')
  header.writeUInt32LE(bytes, 40)
  return header
}
