/**
 * Lives through millions of seconds of wake-ups under faults, around the real decisions. No service runs.
 *
 *   npm run bench:wake
 *   npm run bench:wake -- --steps 1000000 --seed 7
 */
import { parseArgs } from 'node:util'
import { liveThroughWakes, type WakeLifeResult } from '../../orchestrator/testing/index.ts'
import { markdownTable } from '../pipeline/statistics.ts'

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '5000000' },
    seed: { type: 'string', default: '1' },
    run: { type: 'string', default: '50000' },
  },
})
const stepsPerRun = Number(values.run)
const kinds = [
  { name: '50 jobs a day', jobsPerDay: 50 },
  { name: '400 jobs a day', jobsPerDay: 400 },
  { name: '800 jobs a day', jobsPerDay: 800 },
  { name: '400 jobs a day, budget for a quarter', jobsPerDay: 400, budgetSeconds: 18_000 },
]
const runsPerKind = Math.ceil(Number(values.steps) / stepsPerRun / kinds.length)

const rows = kinds.map(({ name, ...kind }) => {
  const lives: WakeLifeResult[] = []
  for (let run = 0; run < runsPerKind; run++)
    lives.push(
      liveThroughWakes({ seed: Number(values.seed) * 10_000 + run, steps: stepsPerRun, ...kind }),
    )
  const sum = (of: (one: WakeLifeResult) => number) => lives.reduce((all, one) => all + of(one), 0)
  const most = (of: (one: WakeLifeResult) => number) => Math.max(...lives.map(of))
  process.stderr.write(`${name}: done\n`)
  return [
    name,
    sum(({ steps }) => steps),
    sum(({ jobs }) => jobs),
    sum(({ stuck }) => stuck),
    most(({ mostPastHello }) => mostPastHello),
    sum(({ rings }) => rings),
    sum(({ sentAway }) => sentAway),
    sum(({ crashes }) => crashes),
    Math.round(most(({ overspentSeconds }) => overspentSeconds)),
  ].map(String)
})
const head = ['', 'seconds', 'jobs', 'stuck', 'most past hello (limit 5)', 'rings']
process.stdout.write(
  markdownTable([...head, 'sent away', 'crashes', 'most past the budget, GPU s'], rows),
)
