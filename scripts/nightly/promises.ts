/** How much of a part is run: what `npm test` can afford, or a night's. */
export type Size = 'small' | 'night'

type Run = {
  /** Words after the program. */
  readonly run: readonly string[]
  /** What makes of a test of a minute one of a night. */
  readonly env?: Readonly<Record<string, string>>
  /** On a busy machine, its start and its end included. */
  readonly minutesMax: number
}

/** One promise of the system, the fault it is about, and what proves it for a whole night. */
export type NightlyPart = {
  /** `R1` and so on. */
  readonly id: string
  readonly fault: string
  readonly promise: string
} & (
  | (Run & {
      readonly with: 'avatar' | 'vitest' | 'pytest' | 'bench'
      /** What is otherwise when it is small. */
      readonly small: Partial<Run>
      /** It measures times, so nothing may run beside it. */
      readonly isAlone?: true
    })
  | { readonly notRun: string }
)

/** A part that can be run here. */
export type RunnablePart = Exclude<NightlyPart, { notRun: string }>

/** As many minutes more as its start, its end and a busy machine take. */
const chaosExtraMinutes = 10
const chaos = (minutes: number, only: string, ...more: readonly string[]) => ({
  with: 'avatar' as const,
  run: ['chaos', '--minutes', String(minutes), ...more, '--only', only],
  minutesMax: minutes + chaosExtraMinutes,
  small: { run: ['chaos', '--minutes', '1', '--only', only], minutesMax: 1 + chaosExtraMinutes },
})
/** Without `env` it is as small as in `npm test`. */
const tests = (minutesMax: number, ...run: readonly string[]) => ({
  with: 'vitest' as const,
  run,
  minutesMax,
  small: { env: {}, minutesMax: Math.min(minutesMax, 15) },
})
const bench = (minutesMax: number, run: readonly string[], small: readonly string[]) => ({
  with: 'bench' as const,
  run,
  minutesMax,
  small: { run: small, minutesMax: Math.min(minutesMax, 15) },
})

/** The promises in their order, each with one command. */
export const nightlyParts: readonly NightlyPart[] = [
  {
    id: 'R1',
    fault: 'kill -9 of any process at random moments',
    promise: 'no accepted job is lost or ends twice',
    ...chaos(60, 'kill,terminate'),
  },
  {
    id: 'R2',
    fault: 'the broker restarts under load',
    promise: 'no acknowledged publish is lost; a submission is answered, by 503 at worst',
    ...tests(25, 'tests/e2e/kill-each-process.test.ts', '-t', 'while the broker restarts'),
    env: { BROKER_RESTARTS: '50' },
  },
  {
    id: 'R3',
    fault: 'cut, half-open and slow connections to the broker',
    promise: 'work goes on afterwards; stale results are refused',
    ...chaos(15, 'broker-cut,broker-half-open,broker-delay'),
  },
  {
    id: 'R4',
    fault: 'a process is suspended and continued',
    promise: 'what a stale worker made is refused; there is one result',
    ...chaos(6, 'suspend'),
  },
  {
    id: 'R5',
    fault: 'errors, 429s, resets, stalls and truncated answers of the store',
    promise: 'jobs complete; nothing is rendered again because of an upload',
    ...chaos(
      60,
      'store-errors,store-busy,store-resets,store-stalls,store-truncates',
      ...['--jobs-per-minute', '84'],
    ),
  },
  {
    id: 'R6',
    fault: 'the store is away for 30 minutes',
    promise: 'finished renders wait on disk, then are uploaded',
    ...tests(45, 'tests/e2e/store-trouble.test.ts', '-t', 'waits on disk'),
    env: { STORE_AWAY_SECONDS: '1800' },
  },
  {
    id: 'R7',
    fault: 'full disks of the broker and both spools',
    promise: 'clean refusals, no damage, and work goes on once there is room',
    ...chaos(10, 'disk-full'),
  },
  {
    id: 'R8',
    fault: 'messages published and delivered more than once',
    promise: 'one execution counts',
    ...tests(
      30,
      ...['orchestrator/test/duplicate-messages.test.ts', 'orchestrator/test/messages.test.ts'],
      'job-kit/test/publishing.test.ts',
    ),
    env: { DUPLICATE_MESSAGES: '50000' },
  },
  {
    id: 'R9',
    fault: 'the same Idempotency-Key many times at once',
    promise: 'one job, one id',
    ...tests(60, 'ingest/test/rest.test.ts', '-t', 'same Idempotency-Key at once'),
    env: { IDEMPOTENCY_ROUNDS: '1000' },
    small: { env: { IDEMPOTENCY_ROUNDS: '20' }, minutesMax: 15 },
  },
  {
    id: 'R10',
    fault: 'a job that kills its worker each time',
    promise: 'it fails at its sixth death; the others complete',
    ...tests(20, 'tests/e2e/bad-renders.test.ts', '-t', 'kills its worker each time'),
    env: { POISON_JOBS: '20' },
  },
  {
    id: 'R11',
    fault: 'the device is out of memory',
    promise: 'one retry at a smaller size, which the result says',
    ...tests(10, 'tests/e2e/bad-renders.test.ts', '-t', 'does not fit into memory'),
  },
  {
    id: 'R12',
    fault: 'a render hangs',
    promise: 'it is killed at its deadline, and the next job starts',
    ...tests(20, 'tests/e2e/bad-renders.test.ts', '-t', 'a render that hangs'),
    env: { HANGING_JOBS: '10' },
  },
  {
    id: 'R13',
    fault: 'weights arrive broken, cut or never',
    promise: 'the download resumes and is verified; nothing half is loaded',
    with: 'pytest',
    run: ['tests/weights'],
    env: { DOWNLOAD_FAULTS: '100' },
    minutesMax: 15,
    small: { env: {} },
  },
  {
    id: 'R14',
    fault: "a service's clock steps by minutes and a day",
    promise: 'nothing expires early, no lease is lost',
    ...chaos(5, 'clock-step'),
  },
  {
    id: 'R15',
    fault: '10,000 queued jobs',
    promise: 'answers stay quick, memory bounded, no key starves',
    ...bench(
      40,
      ['bench/load/main.ts', '--jobs', '10000', '--watchers', '200'],
      ['bench/load/main.ts', '--jobs', '2000'],
    ),
    isAlone: true,
  },
  {
    id: 'R16',
    fault: 'malformed uploads',
    promise: 'no 5xx, no crash, nothing is left of them, memory stays flat',
    ...tests(80, 'ingest/test/media-fuzz.test.ts'),
    env: { FUZZ_CASES: '100000' },
  },
  {
    id: 'R17',
    fault: 'malformed requests',
    promise: 'no 5xx and no undocumented status',
    ...tests(80, 'tests/e2e/schemathesis.test.ts'),
    env: { SCHEMATHESIS_EXAMPLES: '1000' },
    small: { env: { SCHEMATHESIS_EXAMPLES: '50' }, minutesMax: 20 },
  },
  {
    id: 'R18',
    fault: 'slow and aborting clients',
    promise: 'nothing is left of them within a minute; others wait at most twice as long',
    ...tests(20, 'ingest/test/slow-clients.test.ts'),
    env: { SLOW_ROUNDS: '5' },
    isAlone: true,
  },
  {
    id: 'R19',
    fault: 'a rolling restart',
    promise: 'no request fails, no event is missed',
    ...tests(40, 'tests/e2e/rolling-restart.test.ts'),
    env: { RESTARTS: '100' },
  },
  {
    id: 'R20',
    fault: 'the receiver of webhooks is away',
    promise: 'it is told later, once',
    notRun: 'there are no webhooks: publishers read their notifications from a stream',
  },
  {
    id: 'R21',
    fault: 'lost wake-ups, refusals and spent budgets of the GPU provider',
    promise: 'a job starts, or its client sees why not; never more workers than wanted',
    ...tests(
      45,
      ...['tests/e2e/runpod.test.ts', 'orchestrator/test/provider-faults.test.ts'],
      'orchestrator/test/scale.test.ts',
    ),
    env: { PROVIDER_FAULTS: '500' },
  },
  {
    id: 'R22',
    fault: 'cancel at any moment',
    promise: 'the device is free within seconds; one end',
    ...tests(40, 'tests/e2e/cancel.test.ts', '-t', 'at any moment'),
    env: { CANCELS: '2000' },
  },
  {
    id: 'R23',
    fault: 'everything at once, to the real orchestrators in a simulated world',
    promise: 'every invariant holds at every step, and nothing that could go on stands still',
    ...bench(
      30,
      ['bench/simulation/main.ts', '--steps', '1000000'],
      ['bench/simulation/main.ts', '--steps', '20000'],
    ),
  },
  {
    id: 'R24',
    fault: 'an hour of work',
    promise: 'memory and file descriptors stay flat',
    ...bench(
      75,
      ['bench/soak/main.ts', '--minutes', '60'],
      ['bench/soak/main.ts', '--minutes', '5'],
    ),
  },
  {
    id: 'R25',
    fault: "the broker's disk is lost",
    promise: 'a backup restores it',
    ...tests(20, 'tests/e2e/backup.test.ts'),
    env: { BACKUP_JOBS: '500' },
  },
  {
    id: 'R26',
    fault: 'one of three brokers dies or is cut off, while it leads',
    promise: 'nothing is lost, what is refused may be sent again, and work goes on',
    ...tests(40, 'orchestrator/test/three-brokers.test.ts'),
    env: { BROKER_KILLS: '20', BROKER_PARTITIONS: '5', BROKER_PARTITION_SECONDS: '60' },
  },
  {
    id: 'R27',
    fault: 'malformed messages on every subject that a worker or a publisher may use',
    promise: 'they are refused or dead-lettered, and the next good job completes',
    ...tests(15, 'orchestrator/test/malformed-messages.test.ts', 'ingest/test/intake.test.ts'),
    env: { FUZZ_MESSAGES: '2000' },
  },
  {
    id: 'R28',
    fault: "kill -9 at each step of a job's way, from half an upload to the record of its deletion",
    promise: 'nothing stays once its time is over',
    ...tests(20, 'tests/e2e/deletion-walk.test.ts'),
  },
  {
    id: 'R29',
    fault: 'mistakes in what decides about jobs, planted one by one',
    promise: 'a test notices each',
    ...bench(
      75,
      ['scripts/mutations/main.ts', '--minutes', '60'],
      ['scripts/mutations/main.ts', '--minutes', '10'],
    ),
  },
]

/** The parts at a size. */
export function partsOf(size: Size): readonly NightlyPart[] {
  if (size === 'night') return nightlyParts
  return nightlyParts.map((part) => ('notRun' in part ? part : { ...part, ...part.small }))
}

/** The same part with what was changed by hand: how long it lasts, and what its variables say. */
export function withChanges<P extends NightlyPart>(
  part: P,
  minutes: number | undefined,
  variables: Readonly<Record<string, string>>,
): P {
  if ('notRun' in part) return part
  const env = Object.entries(part.env ?? {}).map(([name, value]) => [
    ...[name, variables[name] ?? value],
  ])
  const changed = { ...part, env: Object.fromEntries(env) }
  const at = part.run.indexOf('--minutes') + 1
  if (minutes === undefined || at === 0) return changed
  const run = part.run.with(at, String(minutes))
  return { ...changed, run, minutesMax: minutes + chaosExtraMinutes }
}

/** The command of a part, as somebody types it. */
export function commandOf(part: NightlyPart): string | undefined {
  if ('notRun' in part) return undefined
  const words = part.run.map((word) => (word.includes(' ') ? `'${word}'` : word)).join(' ')
  const env = Object.entries(part.env ?? {}).map(([name, value]) => `${name}=${value} `)
  return env.join('') + programOf(part.with, words)
}

function programOf(by: 'avatar' | 'vitest' | 'pytest' | 'bench', words: string): string {
  switch (by) {
    case 'avatar':
      return `npx avatar ${words}`
    case 'vitest':
      return `npx vitest run ${words}`
    case 'pytest':
      return `cd inference-sidecar && ../.venv/bin/python -m pytest -q ${words}`
    case 'bench':
      return `node ${words}`
  }
}
