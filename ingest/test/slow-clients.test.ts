import { fork } from 'node:child_process'
import { on } from 'node:events'
import { join } from 'node:path'
import { systemClock } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import sharp from 'sharp'
import { afterAll, expect, it } from 'vitest'
import { wav } from './media-fixtures.ts'
import { quantile } from './quantile.ts'
import { rawUpload } from './raw-connection.ts'
import { portrait, useRestWorld } from './rest-world.ts'
import type { Attack, AttackOutcome } from './slow-clients-process.ts'

const clients = Number(process.env['SLOW_CLIENTS'] || 200)
/** More than one is asked for where nothing else runs: only then times can be judged. */
const rounds = Number(process.env['SLOW_ROUNDS'] || 1)
const isQuiet = rounds > 1
const slowerAtMost = 2
/** A round takes half a minute on a quiet machine. */
const testTimeoutMs = 480_000 + rounds * 120_000
/** What others ask while it is measured how long they wait. */
const measuredMs = 5_000
const pauseMs = 10
const world = useRestWorld()
// Whatever clients do, it is no fault of ours.
afterAll(() => expect(world.logged('request failed')).toEqual([]))

const image = await sharp(portrait).resize(160, 160).jpeg().toBuffer()
const audio = wav({ seconds: 0.5 })
const body = rawUpload({ image, audio })
const head = () =>
  `POST /generate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${world.mine.key}\r\n` +
  `content-type: multipart/form-data; boundary=b\r\ncontent-length: ${body.length}\r\n\r\n`

type Measured = { timesMs: number[]; processorMs: number }

/** Others ask one after the other, with a pause in between: a busy machine gets fewer of them, and no heap. */
async function measureOthers(): Promise<Measured> {
  const before = process.cpuUsage()
  const untilMs = performance.now() + measuredMs
  const timesMs: number[] = []
  while (performance.now() < untilMs) {
    const sentAtMs = performance.now()
    expect((await world.call('/jobs')).status).toBe(200)
    timesMs.push(performance.now() - sentAtMs)
    await systemClock.wait(pauseMs) // The rate is the test; there is nothing to wait for.
  }
  const { user, system } = process.cpuUsage(before)
  return { timesMs, processorMs: (user + system) / 1_000 }
}

/** One wave of clients that dawdle and clients that hang up, beside the others. */
async function attackOnce() {
  const attacker = fork(join(import.meta.dirname, 'slow-clients-process.ts'), [], {
    serialization: 'advanced',
  })
  const messages = on(attacker, 'message')
  const heard = async (): Promise<unknown> => (await messages.next()).value?.[0]
  const begun = Buffer.concat([Buffer.from(head()), body.subarray(0, Math.floor(body.length / 3))])
  const order: Attack = {
    url: world.url,
    begun,
    dawdling: clients,
    leaving: clients,
    overMs: measuredMs,
  }
  attacker.send(order)
  expect(await heard()).toBe('dawdling')
  const [beside] = await Promise.all([
    measureOthers(),
    until(async () => (await world.spooled()).length > 0, { what: 'uploads under way' }),
  ])
  const outcome = (await heard()) as AttackOutcome // As its own process says.
  await until(async () => (await world.spooled()).length === 0, {
    what: 'an empty spool',
    timeoutMs: 60_000,
  })
  expect(await heard()).toBe('closed')
  return { beside, ...outcome }
}

it(
  'hundreds of clients that dawdle and hang up leave nothing behind, and keep nobody waiting',
  async () => {
    await measureOthers()
    const before: Measured[] = []
    const beside: Measured[] = []
    let left = 0
    let refused = 0
    for (let round = 0; round < rounds; round++) {
      before.push(await measureOthers())
      const attack = await attackOnce()
      beside.push(attack.beside)
      left += attack.left
      refused += attack.refusals.length
      // A busy machine may not find out in time whether a client comes too often.
      for (const answer of attack.refusals)
        expect(answer).toMatch(/^HTTP\/1\.1 503 [\s\S]*retry-after: [1-9]/i)
    }
    expect(left).toBeGreaterThan(0)
    const form = new FormData()
    form.append('image', new Blob([new Uint8Array(image)]), 'f')
    form.append('audio', new Blob([new Uint8Array(audio)]), 'f')
    // Who finds the broker busy asks again, as clients do.
    const served = async () => {
      const { status } = await world.call('/generate', { method: 'POST', body: form })
      return status !== 503 && status
    }
    expect(await until(served, { what: 'an answer' })).toBe(201)

    const [quiet, busy] = [before, beside].map((all) =>
      quantile(
        all.flatMap(({ timesMs }) => timesMs),
        0.95,
      ),
    )
    const [idle, worked] = [before, beside].map((all) =>
      all.reduce((sum, { processorMs }) => sum + processorMs, 0),
    )
    const callsOf = (all: Measured[]) => all.flatMap(({ timesMs }) => timesMs).length
    const others = (Number(idle) / callsOf(before)) * callsOf(beside)
    const each = (Number(worked) - others) / (rounds * clients)
    console.log(
      `slow clients: ${rounds * clients} dawdling and ${left} leaving, ${refused} refused; others' p95 ` +
        `${quiet?.toFixed(1)} ms before, ${busy?.toFixed(1)} ms beside them ` +
        `(${(Number(busy) / Number(quiet)).toFixed(1)} times), ` +
        `${each.toFixed(1)} ms of processor time for each that left`,
    )
    if (isQuiet) expect(Number(busy) / Number(quiet)).toBeLessThanOrEqual(slowerAtMost)
  },
  testTimeoutMs,
)
