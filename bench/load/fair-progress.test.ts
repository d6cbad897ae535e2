import { expect, it } from 'vitest'
import { fairnessOf } from './fair-progress.ts'

it('compares the first half of the ends with equal shares', () => {
  expect(fairnessOf(['a', 'b', 'a', 'b', 'a', 'a', 'b', 'b'], 2)).toEqual({ least: 1, most: 1 })
  expect(fairnessOf(['a', 'a', 'a', 'b', 'b', 'b', 'a', 'b'], 2)).toEqual({ least: 0.5, most: 1.5 })
})

it('a key that has ended nothing counts as starved, and no end says nothing', () => {
  expect(fairnessOf(['a', 'a', 'b', 'b'], 2)).toEqual({ least: 0, most: 2 })
  expect(fairnessOf([], 2).least).toBeNaN()
})
