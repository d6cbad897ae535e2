import { expect, it } from 'vitest'
import { storageTrouble } from './broker-storage.ts'

const healthWith = (error?: string) => ({ data: { status: 'unavailable', error } })
const ofStream = (error: string) => `JetStream stream 'AVATAR > EVENTS' write error: ${error}`

it.each([
  [healthWith(ofStream('write /d/1.blk: no space left on device')), 'disk_full'],
  [healthWith(ofStream('write /d/1.blk: disk quota exceeded')), 'disk_full'],
  [healthWith(ofStream('write /d/1.blk: input/output error')), 'disk_broken'],
  [healthWith('JetStream not enabled for account'), 'disk_broken'],
  [healthWith("JetStream consumer 'AVATAR > EVENTS > storage' could not be found"), undefined],
  [healthWith(), undefined],
  [{ data: { status: 'ok' } }, undefined],
  ['nonsense', undefined],
  [undefined, undefined],
])('reads the health of the broker: %j', (health, problem) => {
  const trouble = storageTrouble(health)
  expect(trouble?.problem).toBe(problem)
  expect(trouble?.sentence ?? '').not.toContain('/d/1.blk')
})
