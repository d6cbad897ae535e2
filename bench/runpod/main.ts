/**
 * Jobs come at random, doorbells go wrong, machines and orchestrators die, GPUs run out: does every job end,
 * are there never too many workers, are they gone afterwards, and does a client who waits for a cold start
 * hear when it will be over? RunPod is the fake of the tests; its worker
 * loop, the sidecars (engine `null`) and the services are real.
 *
 *   npm run bench:runpod
 *   npm run bench:runpod -- --jobs 8 --seconds 30 --seed 7
 *   npm run bench:runpod -- --calm      nothing goes wrong: how right the times are that clients are told
 *
 * Ends with 1 if any of the first three does not hold, and when nothing goes wrong, if the median of what
 * clients are told is more than twice or less than half of what comes.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import {
  expectAllCompletedOnce,
  hasRunPodSdk,
  portForRunPod,
  runPodSettings,
  type SubmitOptions,
  seededRandom,
  startRunPodWorkers,
  startSystem,
  until,
  watchRunPodWorkers,
} from '../../tests/harness/index.ts'
import { markdownTable, quantile } from '../pipeline/statistics.ts'

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '30' },
    seconds: { type: 'string', default: '240' },
    share: { type: 'string', default: '0.2' },
    max: { type: 'string', default: '5' },
    seed: { type: 'string', default: '1' },
    calm: { type: 'boolean', default: false },
  },
})
const [jobs, seconds, share, max, seed] = [
  ...[Number(values.jobs), Number(values.seconds), Number(values.share)],
  ...[Number(values.max), Number(values.seed)],
] as [number, number, number, number, number]
const random = seededRandom(seed)
const idleWithinMs = 120_000

if (!hasRunPodSdk()) throw new Error('npm run setup -- --with runpod')
const port = await portForRunPod()
const system = await startSystem({
  env: {
    ...runPodSettings(port),
    SCALE_MAX_WORKERS: String(max),
    // They leave soon, so that many doorbells are rung.
    SCALE_IDLE_SECONDS: '0.5',
    SCALE_TARGET_WAIT_SECONDS: '0',
    SCALE_COLD_START_SECONDS: '2',
    INGEST_TIMINGS_DIVISOR: '1',
    // A lost doorbell is noticed after a hundred seconds.
    ORCHESTRATOR_TIMINGS_DIVISOR: '6',
  },
})
const runPod = await startRunPodWorkers(system, port, {
  max,
  idleMs: 500,
  trouble: { seed, share: values.calm ? 0 : share },
  env: { NULL_SECONDS_PER_VIDEO_SECOND: '2', NULL_LOAD_SECONDS: '2' },
})
/** A machine that is overloaded may answer 503: the same submission is then sent again. */
async function submitUntilTaken(job: SubmitOptions): Promise<string> {
  const idempotencyKey = randomUUID()
  const taken = async () => {
    const { status, jobId } = await system.client.submit({ ...job, idempotencyKey })
    return status < 300 && jobId
  }
  return until(taken, { timeoutMs: 60_000, what: 'a job that is taken' })
}

/** A cold start as a client saw it: how long after it was asked for the worker should be ready, and was. */
const coldStarts: { wakesBefore: number; expectedSeconds: number; tookSeconds: number }[] = []

async function watchColdStart(jobId: string): Promise<void> {
  const wakesBefore = runPod.control.show().jobs.length
  let expected: { sinceMs: number; readyAtMs: number } | undefined
  for (;;) {
    const { stage, worker } = await system.client.status(jobId)
    if (!expected && worker?.state === 'requested' && worker.expected_ready_at)
      expected = {
        sinceMs: Date.parse(worker.since),
        readyAtMs: Date.parse(worker.expected_ready_at),
      }
    const isWaiting = ['accepted', 'queued', 'waiting_for_worker'].includes(stage)
    if (worker?.state === 'ready' || !isWaiting) break
    await pause(100)
  }
  if (!expected) return
  coldStarts.push({
    wakesBefore,
    expectedSeconds: (expected.readyAtMs - expected.sinceMs) / 1000,
    tookSeconds: (Date.now() - expected.sinceMs) / 1000,
  })
}

/** The cold starts after the fifth wake-up: what was told, as a part of what it was. */
const ratios = () =>
  coldStarts
    .filter(({ wakesBefore }) => wakesBefore >= 5)
    .map(({ expectedSeconds, tookSeconds }) => expectedSeconds / tookSeconds)

function coldStartRow(): string {
  const all = ratios()
  if (all.length === 0) return 'none was seen'
  const shown = (share: number) => quantile(all, share).toFixed(2)
  const within = all.filter((ratio) => ratio >= 0.5 && ratio <= 2).length
  return `${within} of ${all.length} within 2x; least ${shown(0)}, median ${shown(0.5)}, most ${shown(1)}`
}

/** Each of them in its order, in seconds. */
function coldStartList(): string {
  return coldStarts
    .map(({ expectedSeconds: told, tookSeconds: took }) => `${told.toFixed(1)}/${took.toFixed(1)}`)
    .join(' ')
}

const done = { workersKilled: 0, orchestratorsKilled: 0, throttledSpells: 0 }
try {
  const watch = await watchRunPodWorkers(system, runPod)
  const startedAt = performance.now()
  const overMs = () => performance.now() - startedAt
  const isOver = () => overMs() > seconds * 1000

  const submitted: string[] = []
  const watching: Promise<void>[] = []
  const submitting = (async () => {
    for (let left = jobs; left > 0; left -= 1) {
      const job = { seconds: 1 + random(3), prompt: `null:seconds=${1 + random(4)}` }
      const jobId = await submitUntilTaken(job)
      submitted.push(jobId)
      watching.push(watchColdStart(jobId).catch(() => undefined))
      await pause(random(Math.max(1, (2 * seconds * 1000) / jobs)))
    }
  })()
  const killing = (async () => {
    while (!values.calm && !isOver()) {
      await pause(5_000 + random(15_000))
      const what = random(4)
      if (what === 0) {
        await system.kill('orchestrator')
        done.orchestratorsKilled += 1
      } else if (what === 1) {
        runPod.control.act({ isThrottled: true })
        done.throttledSpells += 1
        await pause(5_000 + random(10_000))
        runPod.control.act({ isThrottled: false })
      } else if (runPod.control.act({ kill: 'any' }).killed) done.workersKilled += 1
    }
  })()
  await Promise.all([submitting, killing])
  await expectAllCompletedOnce(system, submitted)
  await Promise.all(watching)
  const completedAt = overMs()
  await until(() => runPod.fleet.all().length === 0, {
    timeoutMs: idleWithinMs,
    what: 'no worker after two idle minutes',
  })
  const emptyMs = overMs() - completedAt
  watch.stop()

  const shown = runPod.control.show()
  const rows: [string, string][] = [
    ['jobs completed once', `${submitted.length} of ${jobs}`],
    ['most workers past hello', `${watch.most()} (at most ${max})`],
    ['doorbells', JSON.stringify(shown.rings)],
    ['expected / actual of cold starts after five wake-ups', coldStartRow()],
    ['all of them, in s', coldStartList()],
    ['lives of a worker past hello', String(watch.lives())],
    ['started by RunPod in all', String(shown.jobs.reduce((sum, { taken }) => sum + taken, 0))],
    ['killed', JSON.stringify(done)],
    ['the last job was done after', `${Math.round(completedAt / 1000)} s`],
    ['no worker was left after another', `${Math.round(emptyMs / 1000)} s`],
  ]
  console.log(markdownTable(['what', 'seen'], rows))
  const median = quantile(ratios(), 0.5)
  if (values.calm && !(median >= 0.5 && median <= 2)) {
    console.error(`cold starts were expected at ${median} of what they took`)
    process.exitCode = 1
  }
  if (watch.most() > max) {
    console.error(`${watch.most()} workers were past hello at once`)
    process.exitCode = 1
  }
} finally {
  await runPod.stop()
  await system.stop()
}
