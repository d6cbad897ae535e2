import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { plantedFaults } from './faults.ts'
import { plant } from './plant.ts'

const root = join(import.meta.dirname, '../..')

describe('the list of planted faults', () => {
  it('is long, and names each fault once', () => {
    expect(plantedFaults.length).toBeGreaterThanOrEqual(20)
    expect(new Set(plantedFaults.map(({ what }) => what)).size).toBe(plantedFaults.length)
  })

  it.each(plantedFaults)('still has a place for: $what', ({ file, find, replace, tests }) => {
    const text = readFileSync(join(root, file), 'utf8')
    expect(plant(text, find, replace)).not.toBe(text)
    for (const test of tests) expect(existsSync(join(root, test)), test).toBe(true)
  })
})

it('plants nothing where the place is missing, or not the only one', () => {
  expect(plant('a b c', 'b', 'x$&')).toBe('a x$& c')
  expect(() => plant('a b c', 'd', '')).toThrow('0 times')
  expect(() => plant('a b b', 'b', '')).toThrow('2 times')
})
