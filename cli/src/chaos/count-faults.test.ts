import { expect, it } from 'vitest'
import { countFaults, leftOutWhole } from './count-faults.ts'
import { planChaos } from './plan.ts'

const plan = planChaos(7, 1, ['kill', 'clock-step'])
const kills = plan.faults.filter(({ kind }) => kind === 'kill')

it('a kind that was asked for by name and never happened is told, and why', () => {
  const counts = countFaults({ plan, injected: kills })
  expect(leftOutWhole(counts, ['kill', 'clock-step'])).toEqual([
    {
      kind: 'clock-step',
      done: 0,
      missing: plan.faults.length - kills.length,
      why: 'libfaketime is not installed (apt-get install libfaketime)',
    },
  ])
})

it('one that nobody asked for by name may be left out', () => {
  expect(leftOutWhole(countFaults({ plan, injected: kills }))).toEqual([])
})

it('one that happened once is not left out whole', () => {
  const counts = countFaults({ plan, injected: plan.faults.slice(0, 1) })
  const [first] = plan.faults
  expect(leftOutWhole(counts, first && [first.kind])).toEqual([])
})
