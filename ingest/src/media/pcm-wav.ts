import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs'
import type { NormalisedWav } from './checker-protocol.ts'
import { type SoundLevels, SoundMeter } from './sound-meter.ts'
import { readWavParts } from './wav-parts.ts'

/** The sample rates that are kept. Others are resampled to the nearest of these. */
export const keptSampleRates = [
  8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
]

const headerBytes = 44
const chunkBytes = 2 ** 20
const pcmFormat = 1
const bytesPerSample = 2

// One chunk at a time. An Int16Array needs an aligned buffer of its own: a slice of Node's pool may start
// at an odd byte.
const samples = new Int16Array(chunkBytes / bytesPerSample)
const buffer = Buffer.from(samples.buffer)

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
  levels: SoundLevels
}): NormalisedWav | undefined {
  const { path, out, maxSeconds, levels } = request
  return withFile(path, 'r', (input) => {
    const layout = readLayout(input)
    if (!layout || !keptSampleRates.includes(layout.sampleRate)) return undefined
    if (layout.bytes / (layout.channels * bytesPerSample * layout.sampleRate) > maxSeconds) {
      return undefined
    }
    return withFile(out, 'w', (output) => copy(input, output, layout, levels))
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

/** The layout of a single recording whose sizes hold, and behind which nothing stands. */
function readLayout(input: number): PcmLayout | undefined {
  const wav = readWavParts(input)
  const [part, ...others] = wav?.parts ?? []
  if (!wav || !part || others.length > 0 || wav.strayBytes > 0 || wav.hasUnpaddedChunk)
    return undefined
  const { formatTag, channels, blockBytes, bits, bytes } = part
  const isPlain =
    formatTag === pcmFormat &&
    (channels === 1 || channels === 2) &&
    blockBytes === channels * bytesPerSample &&
    bits === bytesPerSample * 8 &&
    bytes > 0 &&
    bytes % blockBytes === 0 &&
    bytes === part.claimedBytes
  return isPlain ? part : undefined
}

/** Writes the new header and the samples, and hashes and measures them on the way. */
function copy(
  input: number,
  output: number,
  layout: PcmLayout,
  levels: SoundLevels,
): NormalisedWav {
  const { sampleRate, channels, start, bytes } = layout
  const header = canonicalHeader(layout)
  const hash = createHash('sha256').update(header)
  writeFileSync(output, header)

  const meter = new SoundMeter(layout, levels)
  for (let done = 0; done < bytes; ) {
    const length = Math.min(chunkBytes, bytes - done)
    if (readSync(input, buffer, 0, length, start + done) !== length) {
      throw new Error('the file shrank while it was read')
    }
    const part = buffer.subarray(0, length)
    hash.update(part)
    writeFileSync(output, part)
    meter.add(samples.subarray(0, length / bytesPerSample))
    done += length
  }
  return {
    bytes: headerBytes + bytes,
    sha256: hash.digest('hex'),
    samples: bytes / (channels * bytesPerSample),
    sampleRate,
    ...meter.measures(),
  }
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
