import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { repositoryRoot } from '../stack/installation.ts'

/** What every job of a run is made of: the example's portrait, and a second of a tone. */
export type Media = { image: Buffer<ArrayBuffer>; audio: Buffer<ArrayBuffer> }

export async function chaosMedia(): Promise<Media> {
  const image = Buffer.from(await readFile(join(repositoryRoot, 'examples/portrait.jpg')))
  return { image, audio: tone(1) }
}

const rate = 16_000
const headerBytes = 44

/** A WAV of a 220 Hz tone; 16 kHz, mono, 16 bit. */
function tone(seconds: number): Buffer<ArrayBuffer> {
  const samples = Math.round(seconds * rate)
  const wav = Buffer.alloc(headerBytes + samples * 2)
  wav.write('RIFF', 0)
  wav.writeUInt32LE(wav.length - 8, 4)
  wav.write('WAVEfmt ', 8)
  wav.writeUInt32LE(16, 16)
  wav.writeUInt16LE(1, 20)
  wav.writeUInt16LE(1, 22)
  wav.writeUInt32LE(rate, 24)
  wav.writeUInt32LE(rate * 2, 28)
  wav.writeUInt16LE(2, 32)
  wav.writeUInt16LE(16, 34)
  wav.write('data', 36)
  wav.writeUInt32LE(samples * 2, 40)
  for (let at = 0; at < samples; at++) {
    const sample = 16_000 * Math.sin((2 * Math.PI * 220 * at) / rate)
    wav.writeInt16LE(Math.round(sample), headerBytes + at * 2)
  }
  return wav
}
