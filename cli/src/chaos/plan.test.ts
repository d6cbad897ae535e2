import { processNames } from '@avatar/contracts'
import { expect, it } from 'vitest'
import { faultKinds, planChaos, smallDisks } from './plan.ts'

it('the same seed gives the same faults and jobs, and another seed gives others', () => {
  const plan = planChaos(7, 3)
  expect(planChaos(7, 3)).toEqual(plan)
  expect(planChaos(8, 3).faults).not.toEqual(plan.faults)
  expect(planChaos(8, 3).jobs).not.toEqual(plan.jobs)
})

it('every fault is over, and every job submitted, when the time is', () => {
  for (let seed = 0; seed < 50; seed++) {
    const { faults, jobs, durationMs } = planChaos(seed, 1)
    expect(faults.length).toBeGreaterThan(15)
    expect(jobs).toHaveLength(24)
    for (const { atMs, forMs } of faults) expect(atMs + forMs).toBeLessThanOrEqual(durationMs)
    for (const { atMs } of jobs) expect(atMs).toBeLessThan(durationMs)
    expect(faults.map(({ atMs }) => atMs)).toEqual(
      faults.map(({ atMs }) => atMs).toSorted((a, b) => a - b),
    )
  }
})

it('a run of some minutes meets every kind of fault, on every process and every disk', () => {
  const { faults } = planChaos(1, 4)
  const kinds = new Set(faults.map(({ kind }) => kind))
  expect(kinds).toEqual(new Set(faultKinds))
  const killed = faults.flatMap((fault) => (fault.kind === 'kill' ? [fault.victim] : []))
  expect(new Set(killed)).toEqual(new Set([...processNames, 'render']))
  const full = faults.flatMap((fault) => (fault.kind === 'disk-full' ? [fault.disk] : []))
  expect(new Set(full)).toEqual(new Set(smallDisks))
})

it('draws only the kinds that are asked for, and the same jobs', () => {
  const { faults, jobs } = planChaos(1, 2, ['kill', 'store-resets'])
  expect(new Set(faults.map(({ kind }) => kind))).toEqual(new Set(['kill', 'store-resets']))
  expect(jobs).toEqual(planChaos(1, 2).jobs)
})

it('submits as many jobs as are asked for, and no more work than a worker can do', () => {
  for (const aMinute of [24, 90, 600]) {
    const { jobs, durationMs } = planChaos(1, 2, undefined, aMinute)
    expect(jobs).toHaveLength(2 * aMinute)
    const seconds = jobs.map(({ prompt }) => Number(/seconds=([\d.]+)/.exec(prompt)?.[1]))
    const workMs = seconds.reduce((sum, each) => sum + each * 1_000, 0)
    expect(workMs).toBeLessThan(durationMs / 2)
  }
})

it('plans both doors, several keys, repeated requests and cancellations', () => {
  const { jobs } = planChaos(1, 5)
  expect(new Set(jobs.map(({ door }) => door))).toEqual(new Set(['rest', 'event']))
  expect(new Set(jobs.map(({ owner }) => owner)).size).toBe(3)
  expect(jobs.some(({ copies }) => copies > 1)).toBe(true)
  expect(jobs.some(({ cancelAfterMs }) => cancelAfterMs !== undefined)).toBe(true)
  expect(new Set(jobs.map(({ name }) => name)).size).toBe(jobs.length)
})
