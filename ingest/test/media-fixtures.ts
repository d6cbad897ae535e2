import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, globSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { crc32, deflateSync } from 'node:zlib'
import sharp, { type Sharp } from 'sharp'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../..')

/** ffmpeg as the services find it, or from the Python environment of the repository. */
export const ffmpegPath =
  process.env['FFMPEG_PATH'] ??
  globSync('.venv/lib/python3*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*', { cwd: root })
    .map((path) => join(root, path))
    .find((path) => existsSync(path)) ??
  'ffmpeg-is-not-installed'

/** Whether the tests that need ffmpeg can run here. In CI they must. */
export const hasFfmpeg = existsSync(ffmpegPath) || process.env['CI'] !== undefined

export const pngSignature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

export function pngChunk(name: string, content: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(name, 'latin1'), content])
  const chunk = Buffer.alloc(body.length + 8)
  chunk.writeUInt32BE(content.length, 0)
  body.copy(chunk, 4)
  chunk.writeUInt32BE(crc32(body), body.length + 4)
  return chunk
}

/** Signature and header are the first 33 bytes of every PNG; the chunk goes behind them. */
export function withPngChunk(png: Buffer, chunk: Buffer): Buffer {
  return Buffer.concat([png.subarray(0, 33), chunk, png.subarray(33)])
}

/** A PNG whose header claims a size that the few bytes behind it do not hold. */
export function pngClaiming(width: number, height: number): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header[8] = 8
  header[9] = 2
  return Buffer.concat([
    pngSignature,
    pngChunk('IHDR', header),
    pngChunk('IDAT', deflateSync(Buffer.alloc(16))),
    pngChunk('IEND', Buffer.alloc(0)),
  ])
}

/** A complete black greyscale PNG, its rows deflated without ever being in memory together. */
export function blackPng(width: number, height: number): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header[8] = 1
  const rows = Buffer.alloc((1 + Math.ceil(width / 8)) * height)
  return Buffer.concat([
    pngSignature,
    pngChunk('IHDR', header),
    pngChunk('IDAT', deflateSync(rows)),
    pngChunk('IEND', Buffer.alloc(0)),
  ])
}

/** A picture of one colour. */
export function plain(width: number, height: number, background: string): Sharp {
  return sharp({ create: { width, height, channels: 3, background } })
}

/** A picture like a photograph: it neither deflates to nothing nor is it noise. */
export function photo(width: number, height: number): Sharp {
  const noise = { type: 'gaussian', mean: 128, sigma: 40 } as const
  return sharp({ create: { width, height, channels: 3, background: '#888', noise } }).blur(2)
}

/** Left half red, right half blue, 200×100. */
export async function redThenBlue(): Promise<Sharp> {
  const blue = await plain(100, 150, '#0000ff').png().toBuffer()
  return sharp(
    await plain(200, 150, '#ff0000')
      .composite([{ input: blue, left: 100, top: 0 }])
      .png()
      .toBuffer(),
  )
}

export type WavOptions = {
  seconds: number
  sampleRate?: number
  channels?: number
  /** Of full scale. */
  amplitude?: number
  /** What the header claims in place of the truth. */
  claims?: { dataBytes?: number; sampleRate?: number; format?: number }
}

/** 16-bit PCM in a WAV file: a square wave of 100 Hz, so that the peak is the amplitude. */
export function wav(options: WavOptions): Buffer {
  const { seconds, sampleRate = 16_000, channels = 1, amplitude = 0.5, claims = {} } = options
  const blocks = Math.round(seconds * sampleRate)
  const samples = new Int16Array(blocks * channels)
  const high = Math.trunc(amplitude * 32_768)
  for (let at = 0; at < samples.length; at++) {
    samples[at] =
      Math.floor((Math.floor(at / channels) * 200) / sampleRate) % 2 === 0 ? high : -high
  }
  const data = Buffer.from(samples.buffer)
  return Buffer.concat([wavHeader(data.length, sampleRate, channels, claims), data])
}

function wavHeader(
  dataBytes: number,
  sampleRate: number,
  channels: number,
  claims: NonNullable<WavOptions['claims']>,
): Buffer {
  const header = Buffer.alloc(44)
  const claimedBytes = claims.dataBytes ?? dataBytes
  const claimedRate = claims.sampleRate ?? sampleRate
  header.write('RIFF', 0, 'latin1')
  header.writeUInt32LE(Math.min(36 + claimedBytes, 0xffffffff), 4)
  header.write('WAVEfmt ', 8, 'latin1')
  header.writeUInt32LE(16, 16)
  header.writeUInt16LE(claims.format ?? 1, 20)
  header.writeUInt16LE(channels, 22)
  header.writeUInt32LE(claimedRate, 24)
  header.writeUInt32LE((claimedRate * channels * 2) % 2 ** 32, 28)
  header.writeUInt16LE(channels * 2, 32)
  header.writeUInt16LE(16, 34)
  header.write('data', 36, 'latin1')
  header.writeUInt32LE(claimedBytes, 40)
  return header
}

/** Runs ffmpeg to make a fixture. */
export async function ffmpeg(args: readonly string[]): Promise<void> {
  await run(ffmpegPath, ['-nostdin', '-v', 'error', '-y', ...args])
}

/** A sine tone as MP3, with a Xing or Info header in front as LAME writes it. */
export async function makeMp3(path: string, seconds: number, args: readonly string[] = []) {
  const tone = `sine=frequency=300:sample_rate=44100:duration=${seconds}`
  await ffmpeg(['-f', 'lavfi', '-i', tone, ...args, '-c:a', 'libmp3lame', '-f', 'mp3', path])
}

/** With another frame count in the Xing header of an MP3 file, which players take the length from. */
export function withFrameCount(mp3: Buffer, frames: number): Buffer {
  const at = Math.max(mp3.indexOf('Xing'), mp3.indexOf('Info'))
  if (at < 0 || (mp3.readUInt32BE(at + 4) & 1) === 0) throw new Error('no frame count to patch')
  const bytes = Buffer.from(mp3)
  bytes.writeUInt32BE(frames, at + 8)
  return bytes
}

/** The same for a file. */
export async function lieAboutFrames(path: string, frames: number): Promise<void> {
  await writeFile(path, withFrameCount(await readFile(path), frames))
}

/** An ID3 tag of zeros, which may claim another size than it has; flag 0x10 adds a footer. */
export function id3(bodyBytes: number, claimedBytes = bodyBytes, flags = 0): Buffer {
  const sizes = [21, 14, 7, 0].map((shift) => (claimedBytes >> shift) & 0x7f)
  const footer = Buffer.from([0x33, 0x44, 0x49, 4, 0, flags, ...sizes])
  const header = Buffer.from([0x49, 0x44, 0x33, 4, 0, flags, ...sizes])
  return Buffer.concat([header, Buffer.alloc(bodyBytes), ...(flags & 0x10 ? [footer] : [])])
}

/** Looks like an MP3 frame and is none. */
export function garbageMp3(): Buffer {
  return Buffer.concat([Buffer.from([0xff, 0xfb, 0x90, 0x00]), randomBytes(100_000)])
}
