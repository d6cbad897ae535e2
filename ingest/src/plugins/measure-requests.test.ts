import { expect, it } from 'vitest'
import { ownerLabels } from './measure-requests.ts'

it('the first hundred owners are told by name, all others as one', () => {
  const labelOf = ownerLabels()
  const owners = Array.from({ length: 101 }, (_, n) => `o_${n}`)
  expect(owners.map(labelOf)).toEqual([...owners.slice(0, 100), 'other'])
  expect([labelOf('o_0'), labelOf('o_100')]).toEqual(['o_0', 'other'])
})
