import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { portrait, type System, startSystem, voice } from '../harness/index.ts'

const run = promisify(execFile)
const harness = resolve(import.meta.dirname, '../harness')
const schemathesis = resolve(import.meta.dirname, '../../.venv/bin/schemathesis')

/** Of each operation; at night there are more. */
const examples = process.env['SCHEMATHESIS_EXAMPLES'] || (process.env['CI'] ? '50' : '10')
const withinMs = 80 * 60_000

/** A 503 is documented, and is what a machine too busy to answer in time says. Any other 5xx is a finding. */
const settings = `[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]

# Which fields belong together, and which exclude each other, JSON Schema says only in ways on which generators
# of clients break: a submission may be right by the document and wrong all the same. Others test what is right.
[[operations]]
include-name = "POST /generate"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 409, 422, 429, "5xx"]

# Requests that are wrong belong to the other phases. In this one the generator sometimes makes some of its binary
# samples that its own validator throws on ("Unsupported type: 'Binary'"), which ends the whole phase.
[phases.stateful.generation]
mode = "positive"
`

let system: System
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-schemathesis-'))
  await writeFile(join(folder, 'portrait.png'), portrait())
  await writeFile(join(folder, 'voice.wav'), voice({ seconds: 1 }))
  await writeFile(join(folder, 'schemathesis.toml'), settings)
  system = await startSystem({ env: { TIMINGS_DIVISOR: '1' } })
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
  expect(await system.stop()).toEqual([])
})

it(
  'the API keeps every promise of its OpenAPI document, whatever is sent',
  async () => {
    const key = await system.createKey()
    const options = [
      ...['--header', `X-API-Key: ${key}`],
      ...['--phases', 'examples,coverage,fuzzing,stateful', '--checks', 'all'],
      ...['--max-examples', examples, '--seed', '1', '--no-color'],
    ]
    const ended = await run(schemathesis, ['run', `${system.url}/openapi.json`, ...options], {
      // It keeps a database of examples where it runs.
      cwd: folder,
      env: { ...process.env, PYTHONPATH: harness, SCHEMATHESIS_HOOKS: 'schemathesis_media' },
      maxBuffer: 2 ** 26,
    }).catch((error: { stdout: string; stderr: string }) => error)
    expect('code' in ended, ended.stdout + ended.stderr).toBe(false)
    const [cases] = /\d+ generated, \d+ passed.*/.exec(ended.stdout) ?? []
    console.log(`schemathesis: ${examples} examples of each operation, cases: ${cases}; seed 1`)
    expect(ended.stdout).toMatch(/Selected: (\d+)\/\1\s+Tested: \1\s/)
  },
  withinMs,
)
