/**
 * The fake as a program, for whoever cannot import it:
 *
 *   node tests/harness/runpod/main.ts '{"command": ["sleep", "60"], "port": 8700}'
 *
 * Prints one line of JSON with its address and key, and runs until SIGTERM or SIGINT.
 */
import { z } from 'zod'
import { ringTroubles } from './ring-trouble.ts'
import { startFakeRunPod } from './start-fake-runpod.ts'

const strings = z.record(z.string(), z.string())
const optionsSchema = z.strictObject({
  command: z.tuple([z.string()], z.string()),
  port: z.int().default(0),
  endpointId: z.string().default('fakeendpoint'),
  apiKey: z.string().default('rpa_fake'),
  max: z.int().default(5),
  env: strings.default({}),
  secrets: strings.default({}),
  imageEnv: strings.default({}),
  trouble: z
    .strictObject({
      seed: z.int(),
      share: z.number(),
      kinds: z.array(z.enum([...ringTroubles, 'no-credit'])).default([...ringTroubles]),
    })
    .default({ seed: 1, share: 0, kinds: [...ringTroubles] }),
  timesDivisor: z.number().default(1),
  perMinute: z.int().default(60),
  idleMs: z.number().default(2_000),
  graceMs: z.number().default(30_000),
  startMs: z.number().default(0),
  pollMs: z.number().default(20_000),
  lateMs: z.number().default(5_000),
})

const fake = await startFakeRunPod(optionsSchema.parse(JSON.parse(process.argv[2] ?? '{}')))
const { url, endpointId, apiKey } = fake
process.stdout.write(`${JSON.stringify({ url, endpointId, apiKey })}\n`)
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.once(signal, () => {
    fake.stop().then(
      () => process.exit(0),
      () => process.exit(1),
    )
  })
