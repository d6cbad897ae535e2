import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'

/** How long a voice takes to come and to go at the ends of a turn. */
const rampSeconds = 0.02
/** Of the WAV files that the checks write. */
const headerBytes = 44

export type Span = { start: number; end: number }

/**
 * Writes a copy of a normalised recording that is silent outside the given spans, in seconds. It reads
 * and writes synchronously, as all checks do.
 */
export function gateWav({
  path,
  out,
  spans,
}: {
  path: string
  out: string
  spans: readonly Span[]
}) {
  const wav = readFileSync(path)
  const channels = wav.readUInt16LE(22)
  const sampleRate = wav.readUInt32LE(24)
  const samples = Math.floor((wav.length - headerBytes) / 2 / channels)
  const gains = gainsOf(spans, samples, sampleRate)
  for (let at = 0; at < samples; at++) {
    const gain = gains[at] ?? 0
    if (gain === 1) continue
    for (let channel = 0; channel < channels; channel++) {
      const byte = headerBytes + (at * channels + channel) * 2
      wav.writeInt16LE(Math.round(wav.readInt16LE(byte) * gain), byte)
    }
  }
  writeFileSync(out, wav)
  return { bytes: wav.length, sha256: createHash('sha256').update(wav).digest('hex') }
}

function gainsOf(spans: readonly Span[], samples: number, sampleRate: number): Float32Array {
  const gains = new Float32Array(samples)
  const ramp = rampSeconds * sampleRate
  for (const { start, end } of spans) {
    const from = Math.floor(start * sampleRate)
    const to = Math.min(samples, Math.ceil(end * sampleRate))
    for (let at = from; at < to; at++) {
      const gain = Math.min(1, (at - from + 1) / ramp, (to - at) / ramp)
      gains[at] = Math.max(gains[at] ?? 0, gain)
    }
  }
  return gains
}
