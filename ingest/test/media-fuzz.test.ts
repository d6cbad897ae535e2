import { jobKey } from '@avatar/contracts'
import { type Random, seededRandom, systemClock } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { Kvm } from '@nats-io/kv'
import { afterAll, expect, it } from 'vitest'
import { hasFfmpeg } from './media-fixtures.ts'
import { createMediaFuzz, type Kind, type MediaFuzz } from './media-fuzz-cases.ts'
import { quantile } from './quantile.ts'
import { useRestWorld } from './rest-world.ts'

/** At night there are more; a seed that failed is given again. */
const casesOfTheDay = 2_000
const cases = Number(process.env['FUZZ_CASES'] || casesOfTheDay)
const seed = Number(process.env['FUZZ_SEED'] || Date.now() % 1_000_000)
const casesUntilLook = 100
/** Memory is looked at from here on: the buffers of the first uploads are kept for the next. */
const warmCases = 1_000
const isNight = cases > casesOfTheDay
/** A leak of one upload in a hundred would cost more at night; by day other tests run beside, and heaps grow. */
const growthMaxBytes = (isNight ? 100 : 300) * 2 ** 20
/** Judged at night. */
const refusedWithinMs = 2_000
const atOnce = 4
const sendTries = 20
const comeAgainMs = 500

const world = useRestWorld()
// Whatever clients send, it is no fault of ours. A machine that is busy answers 503, and the client comes again.
const tooBusy = /"blame":"dependency".*"status":503/
afterAll(() =>
  expect(world.logged('request failed').filter((line) => !tooBusy.test(line))).toEqual([]),
)

async function send(fuzz: MediaFuzz, random: Random) {
  // Drawn before anything is awaited, so that the same seed sends the same cases.
  const { kind, name, bytes } = fuzz.next(random)
  const sentAtMs = performance.now()
  const answer = await sendUntilAnswered(formOf(fuzz, kind, bytes))
  return { what: name, tookMs: performance.now() - sentAtMs, ...answer }
}

function formOf({ valid }: MediaFuzz, kind: Kind, broken: Buffer): FormData {
  const form = new FormData()
  const good = (wanted: Kind) => valid.find((one) => one.kind === wanted)?.bytes ?? broken
  for (const part of ['image', 'audio'] as const)
    form.append(part, new Blob([new Uint8Array(part === kind ? broken : good(part))]), 'f')
  return form
}

const jobIdOf = (body: Record<string, never>) =>
  String((body['data'] as unknown as Record<string, unknown>)['job_id'])

/** Nobody renders what is accepted, and a queue that grows would be memory that grows. */
async function forget(jobs: readonly string[]) {
  const records = await new Kvm(world.raw.connection).open('job')
  for (const jobId of jobs) await records.purge(jobKey(world.mine.owner, jobId))
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
    const fuzz = await createMediaFuzz()
    const random = seededRandom(seed)
    const statuses = new Map<number, number>()
    const memory: number[] = []
    const refusedMs: number[] = []
    for (let done = 0; done < cases; done += atOnce) {
      const answers = await Promise.all(Array.from({ length: atOnce }, () => send(fuzz, random)))
      for (const { what, status, body, tookMs } of answers) {
        expect([201, 400, 413, 415, 422], `${what}: ${JSON.stringify(body)}`).toContain(status)
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
        if (status !== 201) refusedMs.push(tookMs)
      }
      await forget(answers.filter(({ status }) => status === 201).map(({ body }) => jobIdOf(body)))
      if (done % casesUntilLook === 0) memory.push(process.memoryUsage.rss())
    }
    await until(async () => (await world.spooled()).length === 0, { what: 'an empty spool' })
    await until(() => world.board.queueDepth() === 0, { what: 'an empty queue' })
    const growth = Math.max(...memory) - (memory[warmCases / casesUntilLook] ?? memory[0] ?? 0)
    const p99Ms = quantile(refusedMs, 0.99)
    console.log(
      `media fuzz: ${cases} cases, ${JSON.stringify(Object.fromEntries(statuses))}, refused within ` +
        `${Math.round(p99Ms)} ms (p99), memory grew by ${Math.round(growth / 2 ** 20)} MB; seed ${seed}`,
    )
    expect(growth).toBeLessThan(growthMaxBytes)
    if (isNight) expect(p99Ms).toBeLessThan(refusedWithinMs)
    // Damage is neither so slight that all is taken, nor so heavy that all is refused.
    expect([...statuses.keys()]).toEqual(expect.arrayContaining([201, 400]))
  },
  80 * 60_000,
)
