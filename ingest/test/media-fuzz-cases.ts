import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deflateSync } from 'node:zlib'
import { pick, type Random } from '@avatar/service-kit'
import sharp from 'sharp'
import {
  blackPng,
  ffmpeg,
  ffmpegPath,
  id3,
  pngChunk,
  pngClaiming,
  wav,
  withFrameCount,
  withPngChunk,
} from './media-fixtures.ts'
import { portrait } from './rest-world.ts'

export type Kind = 'image' | 'audio'
export type Media = { kind: Kind; name: string; bytes: Buffer }

/** Makes files to send: the same random numbers make the same files. */
export type MediaFuzz = {
  /** Media of every kind that is taken, each small: a fault finds a header sooner than a pixel. */
  valid: readonly Media[]
  next(random: Random): Media
}

export async function createMediaFuzz(): Promise<MediaFuzz> {
  const images = await validImages()
  const audios = await validAudios()
  const mediaOf = (kind: Kind, all: Record<string, Buffer>) =>
    Object.entries(all).map(([name, bytes]) => ({ kind, name, bytes }))
  const valid = [...mediaOf('image', images), ...mediaOf('audio', audios)]
  const traps = [...imageTraps(images), ...(await audioTraps(audios))]

  return {
    valid,
    next(random) {
      const isTrap = random(3) === 0
      const media = isTrap ? trapOf(random) : pick(valid, random)
      // A trap works as it is, too.
      if (isTrap && random(2) === 0) return media
      const [how, mutate] = pick(Object.entries(mutations), random)
      return { ...media, name: `${media.name}, ${how}`, bytes: mutate(media.bytes, random) }
    },
  }

  function trapOf(random: Random): Media {
    const { kind, name, make } = pick(traps, random)
    return { kind, name, bytes: make(random) }
  }
}

async function validImages() {
  const small = sharp(portrait).resize(160, 160)
  return {
    jpeg: await small.clone().jpeg().toBuffer(),
    progressive: await small.clone().jpeg({ progressive: true }).toBuffer(),
    cmyk: await small.clone().toColourspace('cmyk').jpeg().toBuffer(),
    png: await small.clone().png().toBuffer(),
    deep: await small.clone().toColourspace('rgb16').png({ progressive: true }).toBuffer(),
    webp: await small.clone().webp().toBuffer(),
    lossless: await small.clone().webp({ lossless: true }).toBuffer(),
  }
}

async function validAudios() {
  const audios: Record<string, Buffer> = { wav: wav({ seconds: 0.5 }) }
  if (!existsSync(ffmpegPath)) return audios
  const folder = await mkdtemp(join(tmpdir(), 'avatar-fuzz-'))
  for (const type of ['mp3', 'flac', 'ogg', 'm4a']) {
    const path = join(folder, `voice.${type}`)
    await ffmpeg(['-f', 'lavfi', '-i', 'sine=frequency=440:duration=0.5', path])
    audios[type] = await readFile(path)
  }
  await rm(folder, { recursive: true, force: true })
  return audios
}

type Trap = { kind: Kind; name: string; make: (random: Random) => Buffer }

/** What has deceived a decoder before: each is a little different each time. */
function imageTraps({ jpeg, png }: { jpeg: Buffer; png: Buffer }): Trap[] {
  const traps: Record<string, Trap['make']> = {
    'a drawing': (random) =>
      Buffer.from(
        `<svg xmlns="http://www.w3.org/2000/svg" width="${random(9_000)}" height="300"><image ` +
          `href="file:///etc/passwd"/></svg>`,
      ),
    'a page behind a picture': (random) =>
      Buffer.concat([pick([jpeg, png], random), Buffer.from('<html><script>alert(1)</script>')]),
    'an archive behind a picture': (random) =>
      Buffer.concat([pick([jpeg, png], random), Buffer.from('PK\x03\x04'), noise(200, random)]),
    'two pictures': () => Buffer.concat([jpeg, png]),
    'a size that is not there': (random) => pngClaiming(random(70_000), random(70_000)),
    'a large picture of nothing': (random) => pick(large, random),
    'a text that inflates': () => withPngChunk(png, inflating),
    'an animation': (random) => {
      const control = Buffer.alloc(8)
      control.writeUInt32BE(random(5), 0)
      return withPngChunk(png, pngChunk('acTL', control))
    },
    'a profile of colours that is none': (random) =>
      withPngChunk(
        png,
        pngChunk('iCCP', Buffer.concat([Buffer.from('x\0\0'), noise(300, random)])),
      ),
    'no picture': (random) => noise(random(3_000), random),
  }
  const large = [blackPng(8_192, 8_192), blackPng(8_193, 128), blackPng(16_000, 16_000)]
  const text = deflateSync(Buffer.alloc(20 * 2 ** 20, 'a'))
  const inflating = pngChunk(
    'iTXt',
    Buffer.concat([Buffer.from('bomb\0\x01\0\0\0', 'latin1'), text]),
  )
  return trapsOf('image', traps)
}

async function audioTraps({ mp3 = Buffer.alloc(0), flac }: Record<string, Buffer>) {
  const lengths = [0, 1, 44, 32_000, 0x7f_ff_ff_ff, 0xff_ff_ff_ff]
  const rates = [0, 1, 7, 8_000, 768_000, 0xff_ff_ff_ff]
  const traps: Record<string, Trap['make']> = {
    'a length that is not there': (random) =>
      wav({ seconds: 0.4, claims: { dataBytes: pick(lengths, random) } }),
    'a rate that is not there': (random) =>
      wav({ seconds: 0.4, claims: { sampleRate: pick(rates, random) } }),
    'a format that is not there': (random) =>
      wav({ seconds: 0.4, claims: { format: random(65_536) } }),
    'no samples': () => wav({ seconds: 0 }),
    silence: (random) => wav({ seconds: random(10) / 4, amplitude: 0 }),
    'many channels': (random) => wav({ seconds: 0.1, channels: 1 + random(255) }),
    'a head alone': (random) => wav({ seconds: 0 }).subarray(0, 12 + random(33)),
    'a playlist': (random) =>
      Buffer.from(
        pick(
          [
            "ffconcat version 1.0\nfile '/etc/passwd'\n",
            '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n',
            '[playlist]\nFile1=/etc/passwd\n',
          ],
          random,
        ),
      ),
    'a tag that lies': (random) => Buffer.concat([id3(200, random(3_000_000)), mp3]),
    'only tags': (random) => id3(random(4_000)),
    'a frame that is none': (random) =>
      Buffer.concat([Buffer.from([0xff, 0xfb, 0x90, 0x00]), noise(2_000, random)]),
    'two recordings': (random) =>
      Buffer.concat([mp3, pick([mp3, wav({ seconds: 0.3 }), flac ?? mp3], random)]),
    'no recording': (random) => noise(random(3_000), random),
  }
  if (mp3.length > 0)
    traps['frames that are not there'] = (random) => withFrameCount(mp3, random(1e6))
  return trapsOf('audio', traps)
}

function trapsOf(kind: Kind, traps: Record<string, Trap['make']>): Trap[] {
  return Object.entries(traps).map(([name, make]) => ({ kind, name, make }))
}

/** What a fuzzer does to a file: it knows nothing of its format. */
const mutations: Readonly<Record<string, (bytes: Buffer, random: Random) => Buffer>> = {
  'a few bits flipped': (bytes, random) => withFlips(bytes, 1 + random(30), bytes.length, random),
  // As zzuf does: so many of all bits.
  'a share of its bits flipped': (bytes, random) =>
    withFlips(
      bytes,
      Math.ceil((bytes.length * 8 * (1 + random(40))) / 10_000),
      bytes.length,
      random,
    ),
  'bits of its head flipped': (bytes, random) => withFlips(bytes, 1 + random(6), 96, random),
  truncated: (bytes, random) => bytes.subarray(0, random(bytes.length)),
  'a part left out': (bytes, random) => {
    const from = random(bytes.length)
    const until = Math.min(bytes.length, from + 1 + random(2_000))
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(until)])
  },
  'a part repeated': (bytes, random) => {
    const from = random(bytes.length)
    const part = bytes.subarray(from, from + 1 + random(4_000))
    return Buffer.concat([bytes.subarray(0, from), part, part, part, bytes.subarray(from)])
  },
  'a length that lies': (bytes, random) => {
    if (bytes.length < 4) return bytes
    const lying = Buffer.from(bytes)
    const value = [0, 1, 0x7f_ff_ff_ff, 0xff_ff_ff_ff, 0x80_00_00_00][random(5)] ?? 0
    lying.writeUInt32BE(value, random(Math.min(400, lying.length - 3)))
    return lying
  },
  'something behind it': (bytes, random) =>
    Buffer.concat([bytes, noise(1 + random(5_000), random)]),
}

function withFlips(bytes: Buffer, flips: number, withinBytes: number, random: Random): Buffer {
  const flipped = Buffer.from(bytes)
  for (let left = flips; left > 0; left--) {
    const at = random(Math.min(withinBytes, flipped.length))
    flipped[at] = (flipped[at] ?? 0) ^ (1 << random(8))
  }
  return flipped
}

function noise(length: number, random: Random): Buffer {
  return Buffer.from(Array.from({ length }, () => random(256)))
}
