import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Random, seededRandom, systemClock } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import sharp from 'sharp'
import { afterAll, expect, it } from 'vitest'
import { ffmpeg, ffmpegPath, hasFfmpeg, wav } from './media-fixtures.ts'
import { portrait, useRestWorld } from './rest-world.ts'

/** At night there are more; a seed that failed is given again. */
const cases = Number(process.env['FUZZ_CASES'] || 300)
const seed = Number(process.env['FUZZ_SEED'] || Date.now() % 1_000_000)
/** As many as a client sends one after the other before what is kept of them must have gone. */
const casesUntilLook = 100
/** A leak of one upload in ten would cost more. Buffers of the first uploads are kept for the next. */
const growthMaxBytes = 300 * 2 ** 20
const atOnce = 4
const sendTries = 20
const comeAgainMs = 500

const world = useRestWorld()
// Whatever clients send, it is no fault of ours. A machine that is busy answers 503, and the client comes again.
const tooBusy = /"blame":"dependency".*"status":503/
afterAll(() =>
  expect(world.logged('request failed').filter((line) => !tooBusy.test(line))).toEqual([]),
)

type Kind = 'image' | 'audio'
type Seed = { kind: Kind; name: string; bytes: Buffer }

/** Valid media of every kind that is taken, each small: a fault finds a header sooner than a pixel. */
async function validSeeds(): Promise<Seed[]> {
  const small = sharp(portrait).resize(160, 160)
  const images = {
    jpeg: await small.clone().jpeg().toBuffer(),
    progressive: await small.clone().jpeg({ progressive: true }).toBuffer(),
    png: await small.clone().png().toBuffer(),
    webp: await small.clone().webp().toBuffer(),
    lossless: await small.clone().webp({ lossless: true }).toBuffer(),
  }
  const audios: Record<string, Buffer> = { wav: wav({ seconds: 0.5 }) }
  const folder = await mkdtemp(join(tmpdir(), 'avatar-fuzz-'))
  if (existsSync(ffmpegPath))
    for (const type of ['mp3', 'flac', 'ogg', 'm4a']) {
      const path = join(folder, `voice.${type}`)
      await ffmpeg(['-f', 'lavfi', '-i', 'sine=frequency=440:duration=0.5', path])
      audios[type] = await readFile(path)
    }
  await rm(folder, { recursive: true, force: true })
  const seedsOf = (kind: Kind, all: Record<string, Buffer>) =>
    Object.entries(all).map(([name, bytes]) => ({ kind, name, bytes }))
  return [...seedsOf('image', images), ...seedsOf('audio', audios)]
}

/** What a fuzzer does to a file: it knows nothing of its format. */
const mutations: Readonly<Record<string, (bytes: Buffer, random: Random) => Buffer>> = {
  'bits flipped': (bytes, random) => {
    const flipped = Buffer.from(bytes)
    for (let left = 1 + random(30); left > 0; left--) {
      const at = random(flipped.length)
      flipped[at] = (flipped[at] ?? 0) ^ (1 << random(8))
    }
    return flipped
  },
  'bits of the head flipped': (bytes, random) => {
    const flipped = Buffer.from(bytes)
    for (let left = 1 + random(6); left > 0; left--) {
      const at = random(Math.min(96, flipped.length))
      flipped[at] = (flipped[at] ?? 0) ^ (1 << random(8))
    }
    return flipped
  },
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
    const lying = Buffer.from(bytes)
    const value = [0, 1, 0x7f_ff_ff_ff, 0xff_ff_ff_ff, 0x80_00_00_00][random(5)] ?? 0
    lying.writeUInt32BE(value, random(Math.max(1, Math.min(400, lying.length - 4))))
    return lying
  },
  'something behind it': (bytes, random) => {
    const noise = Buffer.from(Array.from({ length: 1 + random(5_000) }, () => random(256)))
    return Buffer.concat([bytes, noise])
  },
  'nothing of it': (_, random) =>
    Buffer.from(Array.from({ length: random(3_000) }, () => random(256))),
}

async function send(seeds: readonly Seed[], random: Random) {
  const { kind, name, bytes } = pick(seeds, random)
  const [how, mutate] = pick(Object.entries(mutations), random)
  // Drawn before anything is awaited, so that the same seed sends the same cases.
  const broken = mutate(bytes, random)
  const answer = await sendUntilAnswered(formOf(seeds, kind, broken))
  return { what: `${name}, ${how}`, ...answer }
}

function formOf(seeds: readonly Seed[], kind: Kind, broken: Buffer): FormData {
  const form = new FormData()
  const good = (wanted: Kind) => seeds.find((one) => one.kind === wanted)?.bytes ?? broken
  for (const part of ['image', 'audio'] as const)
    form.append(part, new Blob([new Uint8Array(part === kind ? broken : good(part))]), 'f')
  return form
}

/** As a client does that is told to come again. */
async function sendUntilAnswered(body: FormData) {
  for (let tries = 1; ; tries++) {
    const answer = await world.call('/generate', { method: 'POST', body })
    if (answer.status !== 503 || tries === sendTries) return answer
    await systemClock.wait(comeAgainMs)
  }
}

it.runIf(hasFfmpeg)(
  'damaged media are accepted or refused, whatever is damaged, and nothing of them stays',
  async () => {
    console.log(`media fuzz: FUZZ_SEED=${seed}`)
    const seeds = await validSeeds()
    const random = seededRandom(seed)
    const statuses = new Map<number, number>()
    const memory: number[] = []
    for (let done = 0; done < cases; done += atOnce) {
      const answers = await Promise.all(Array.from({ length: atOnce }, () => send(seeds, random)))
      for (const { what, status, body } of answers) {
        expect([201, 400, 413, 415, 422], `${what}: ${JSON.stringify(body)}`).toContain(status)
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
      }
      if (done % casesUntilLook === 0) memory.push(process.memoryUsage.rss())
    }
    await until(async () => (await world.spooled()).length === 0, { what: 'an empty spool' })
    const [, first = 0] = memory
    const growth = Math.max(...memory) - first
    console.log(
      `media fuzz: ${cases} cases, ${JSON.stringify(Object.fromEntries(statuses))}, ` +
        `memory grew by ${Math.round(growth / 2 ** 20)} MB`,
    )
    expect(growth).toBeLessThan(growthMaxBytes)
    // Damage is neither so slight that all is taken, nor so heavy that all is refused.
    expect([...statuses.keys()]).toEqual(expect.arrayContaining([201, 400]))
  },
  80 * 60_000,
)

function pick<T>(items: readonly T[], random: Random): T {
  const item = items[random(items.length)]
  if (item === undefined) throw new Error('nothing to pick from')
  return item
}
