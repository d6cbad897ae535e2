/**
 * Lives through simulated lives of the orchestrator, full of faults, until there were so many steps: the real
 * code, around it a simulated clock, broker, store, workers and clients. No service runs.
 *
 *   npm run bench:simulation
 *   npm run bench:simulation -- --steps 20000 --seed 7
 */
import { parseArgs } from 'node:util'
import { liveThrough } from '../../orchestrator/testing/index.ts'

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
})
const seed = Number(values.seed)
process.stderr.write(`seed ${seed}\n`)
const lived = await liveThrough({ steps: Number(values.steps), seed })
const { steps, lives, attempts, simulatedSeconds, ends } = lived
const jobs = Object.values(ends).reduce((sum, count) => sum + count, 0)
process.stdout.write(
  `${steps} steps in ${lives} lives, ${jobs} jobs, ${attempts} attempts, ` +
    `${Math.round(simulatedSeconds / 3600)} simulated hours: 0 violations; seed ${seed}\n`,
)
