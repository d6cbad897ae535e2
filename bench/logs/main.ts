/**
 * Measures what hiding secrets costs a line of the log, in both languages, in processor time. No service
 * runs.
 *
 *   npm run bench:logs
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { hideValue, scrubSecrets } from '../../service-kit/src/index.ts'
import { markdownTable } from '../pipeline/statistics.ts'

const rounds = 5
const linesPerRound = 40_000
const root = join(import.meta.dirname, '../..')

const common = {
  level: 'info',
  time: '2026-01-31T12:00:00.000Z',
  service: 'orchestrator',
  subject: 'evt.render.completed.0190b5b2-1111-7000-8000-000000000000',
  traceId: '0af7651916cd43dd8448eb211c80319c',
  jobId: '0190b5b2-1111-7000-8000-000000000000',
  attempt: 1,
}
const lines = {
  'of a job': { ...common, state: 'completed', msg: 'upload settled' },
  'of a failure, with two stacks': {
    ...common,
    err: { type: 'AppError', message: 'm', stack: stackOf(10), cause: { stack: stackOf(10) } },
    msg: 'message failed, it will be redelivered',
  },
  'with five secrets': {
    ...common,
    details: { url: 'nats://u:hunter2@h', list: ['Bearer abc', 'hf_abcdefgh'], password: 'a' },
    reason: 'R2_SECRET_ACCESS_KEY=abcdef',
    msg: 'failed',
  },
}
const texts = Object.entries(lines).map(([name, line]) => [name, JSON.stringify(line)] as const)

/** As many as a service has that reaches the broker and the store. */
const known = Array.from({ length: 2 }, () => randomBytes(30).toString('base64url'))

const alone = texts.map(([, text]) => microsecondsOf(text))
for (const value of known) hideValue(value)
const withKnown = texts.map(([, text]) => microsecondsOf(text))
const python = pythonMicroseconds()

console.log(
  markdownTable(
    ['line', 'bytes', 'TypeScript', 'with 2 known values', 'Python', 'with 2 known values'],
    texts.map(([name, text], at) => [
      name,
      String(text.length),
      ...[alone[at], withKnown[at], python.alone[at], python.withKnown[at]].map(
        (us) => `${(us ?? 0).toFixed(1)} µs`,
      ),
    ]),
  ),
)

/** The least of some rounds: on a busy machine the others say less. */
function microsecondsOf(text: string): number {
  let least = Infinity
  for (let round = 0; round < rounds; round++) {
    const before = process.cpuUsage()
    // A number at the end makes each line another string.
    for (let n = 0; n < linesPerRound; n++) scrubSecrets(`${text}${n}`)
    const { user, system } = process.cpuUsage(before)
    least = Math.min(least, (user + system) / linesPerRound)
  }
  return least
}

function pythonMicroseconds(): { alone: number[]; withKnown: number[] } {
  const program = `
import json, sys, time
from inference_sidecar.foundation.scrub import hide_value, scrub_secrets
given = json.load(sys.stdin)
def least(text):
    spent = []
    for _ in range(given["rounds"]):
        began = time.process_time()
        for n in range(given["lines"]):
            scrub_secrets(f"{text}{n}")
        spent.append((time.process_time() - began) / given["lines"] * 1e6)
    return min(spent)
alone = [least(text) for text in given["texts"]]
for value in given["known"]:
    hide_value(value)
print(json.dumps({"alone": alone, "withKnown": [least(text) for text in given["texts"]]}))`
  const given = { rounds, lines: linesPerRound / 4, texts: texts.map(([, text]) => text), known }
  const input = JSON.stringify(given)
  return JSON.parse(
    execFileSync(join(root, '.venv/bin/python'), ['-c', program], { input, encoding: 'utf8' }),
  )
}

function stackOf(frames: number): string {
  return Array.from({ length: frames }, (_, n) => `at f${n} (file:///srv/src/a.ts:${n}:7)`).join(
    '\n',
  )
}
