import { crc32, deflateSync } from 'node:zlib'

/** A PNG of a plain gradient; no face, so for the `null` engine only. */
export function portrait({ width = 320, height = 180 } = {}): Buffer {
  const rows = Buffer.alloc((width * 3 + 1) * height)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const at = y * (width * 3 + 1) + 1 + x * 3
      rows[at] = (x * 255) / width
      rows[at + 1] = (y * 255) / height
      rows[at + 2] = 128
    }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, 2, 0, 0, 0], 8) // Eight bits, RGB.
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

/** A WAV of a 220 Hz tone that swells and fades; 16 kHz, mono, 16 bit. At an amplitude of 0 it is silent. */
export function voice({ seconds = 1, amplitude = 20_000 } = {}): Buffer {
  const rate = 16_000
  const samples = Math.round(seconds * rate)
  const pcm = Buffer.alloc(samples * 2)
  for (let i = 0; i < samples; i++) {
    const loudness = 0.5 + 0.4 * Math.sin((2 * Math.PI * 3 * i) / rate)
    const sample = loudness * Math.sin((2 * Math.PI * 220 * i) / rate)
    pcm.writeInt16LE(Math.round(sample * amplitude), i * 2)
  }
  return wavOf(pcm, { rate, channels: 1 })
}

/** The bytes before the samples of `wavOf`. */
export const wavHeaderBytes = 44

/** A WAV of these samples, 16 bit. */
export function wavOf(pcm: Buffer, { rate, channels }: { rate: number; channels: number }): Buffer {
  const header = Buffer.alloc(wavHeaderBytes)
  header.write('RIFF', 0)
  header.writeUInt32LE(wavHeaderBytes - 8 + pcm.length, 4)
  header.write('WAVEfmt ', 8)
  header.writeUInt32LE(16, 16)
  header.writeUInt16LE(1, 20)
  header.writeUInt16LE(channels, 22)
  header.writeUInt32LE(rate, 24)
  header.writeUInt32LE(rate * channels * 2, 28)
  header.writeUInt16LE(channels * 2, 32)
  header.writeUInt16LE(16, 34)
  header.write('data', 36)
  header.writeUInt32LE(pcm.length, 40)
  return Buffer.concat([header, pcm])
}

function chunk(name: string, content: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(name, 'latin1'), content])
  const length = Buffer.alloc(4)
  length.writeUInt32BE(content.length)
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32BE(crc32(named))
  return Buffer.concat([length, named, checksum])
}
