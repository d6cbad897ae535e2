/**
 * Steady work for a while: does anything grow that should not? The system is real, the engine is `null`.
 * Linux only. Of a Node service the live objects after a garbage collection are judged, of the worker its
 * resident memory; the broker and the store keep what they are given. Memory is judged from half an
 * hour on: before, caches still find their size.
 *
 *   npm run bench:soak
 *   npm run bench:soak -- --minutes 5
 */
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { processNames, startSystem, until } from '../../tests/harness/index.ts'
import { markdownTable } from '../pipeline/statistics.ts'
import { inspectorSettings, memoryOf } from '../queue/heap-of.ts'
import { afterWarmUp, type Look, slopeOf } from './slopes.ts'

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '60' }, rate: { type: 'string', default: '2' } },
})
const minutes = Number(values.minutes)
const submitEveryMs = 1000 / Number(values.rate)
const lookEveryMs = 5_000
/** In ten minutes. Judged only where the run is long enough to tell. */
const mebibytesMax = 1
const judgedFromMinutes = 30
/** Files in ten minutes: connections come and go, and a leak of one a job would be hundreds. */
const filesMax = 10

/** A collection holds a service up for some milliseconds. */
const collectEveryMs = 30_000
const inspectorPorts = { ingest: 9_351, orchestrator: 9_352, janitor: 9_353 } as const

type ProcessName = (typeof processNames)[number]
type Collected = keyof typeof inspectorPorts
const collected = Object.keys(inspectorPorts) as Collected[] // Object.keys forgets them.
const isCollected = (name: ProcessName): name is Collected => name in inspectorPorts
/** What is judged, or else only told. */
const judged: ReadonlySet<ProcessName> = new Set([...collected, 'sidecar'])
const looks = new Map<ProcessName, Look[]>(processNames.map((name) => [name, []]))
const system = await startSystem({
  env: { VIDEO_RETENTION_HOURS: '0.02', LOG_LEVEL: 'warn', ...inspectorSettings(inspectorPorts) },
})
let isKept = false
try {
  isKept = await soak()
} finally {
  await system.stop()
}
process.exitCode = isKept ? 0 : 1

async function soak(): Promise<boolean> {
  const startedAtMs = performance.now()
  const endMs = startedAtMs + minutes * 60_000
  const { processes } = await system.stack()
  let submitted = 0
  const submitting = (async () => {
    while (performance.now() < endMs) {
      const idempotencyKey = `soak-${submitted++}`
      await system.client.submitUntilAccepted({ prompt: 'null:seconds=0.1', idempotencyKey })
      await pause(submitEveryMs)
    }
  })()
  let collectAtMs = startedAtMs
  while (performance.now() < endMs) {
    const isCollecting = performance.now() >= collectAtMs
    if (isCollecting) collectAtMs += collectEveryMs
    for (const name of processNames) {
      if (isCollected(name) && !isCollecting) continue
      const atSeconds = (performance.now() - startedAtMs) / 1000
      const look = lookAt(processes[name].pid)
      const mebibytes = isCollected(name)
        ? (await memoryOf(processes[name].pid, inspectorPorts[name])).heapBytes / 2 ** 20
        : look.mebibytes
      looks.get(name)?.push({ ...look, mebibytes, atSeconds })
    }
    await pause(lookEveryMs)
  }
  await submitting
  const broker = await system.broker()
  const completed = () => broker.count('EVENTS', 'evt.job.completed.*')
  await until(async () => (await completed()) >= submitted, { what: 'all jobs completed' })
  const rejections = system.lines.filter((line) => /unhandled/i.test(line)).length
  const restarts = await countRestarts(processes)
  const slopes = processNames.map((name) => {
    const all = afterWarmUp(looks.get(name) ?? [])
    return {
      name,
      mebibytes: slopeOf(all, (look) => look.mebibytes),
      files: slopeOf(all, ({ files }) => files),
      last: all.at(-1),
    }
  })
  const head = ['', 'MB at the end', 'MB in ten minutes', 'open files', 'files in ten minutes']
  process.stdout.write(
    markdownTable(
      head,
      slopes.map(({ name, mebibytes, files, last }) => [
        ...[name, (last?.mebibytes ?? 0).toFixed(0), mebibytes.toFixed(2)],
        ...[String(last?.files ?? 0), files.toFixed(2)],
      ]),
    ),
  )
  const memory = slopes.map(({ name, mebibytes }) => `${name} ${mebibytes.toFixed(1)}`).join(', ')
  const files = Math.max(...slopes.map((slope) => slope.files))
  const isJudged = minutes >= judgedFromMinutes
  process.stdout.write(
    `soak: ${minutes} minutes of ${values.rate} jobs a second: ${submitted} jobs completed, ` +
      `MB in ten minutes, live ones of services: ${memory}${isJudged ? '' : ' (too short a run to judge memory)'}; ` +
      `files ${files.toFixed(1)} at most; ${rejections} unhandled rejections, ${restarts} restarts\n`,
  )
  const isFlat =
    !isJudged ||
    slopes.every(({ name, mebibytes }) => !judged.has(name) || mebibytes < mebibytesMax)
  return isFlat && files < filesMax && rejections + restarts === 0
}

function lookAt(pid: number): Omit<Look, 'atSeconds'> {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kibibytes = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0)
  return { mebibytes: kibibytes / 1024, files: readdirSync(`/proc/${pid}/fd`).length }
}

async function countRestarts(before: Readonly<Record<string, { pid: number }>>): Promise<number> {
  const { processes } = await system.stack()
  return processNames.filter((name) => processes[name].pid !== before[name]?.pid).length
}
