import { expect, it } from 'vitest'
import { inLanes } from './lanes.ts'

const minuteMs = 60_000
type Part = { id: string; minutesMax: number; isAlone?: true }

/** Runs parts by a clock that a part moves on; tells when each began, beside which, and what was left. */
async function lived(parts: readonly Part[], lanes: number, withinMinutes: number) {
  let nowMs = 0
  const running = new Set<string>()
  const began: string[] = []
  const left = await inLanes(
    parts,
    { lanes, withinMs: withinMinutes * minuteMs, nowMs: () => nowMs },
    async ({ id, minutesMax }) => {
      running.add(id)
      began.push([...running].join('+'))
      await Promise.resolve()
      nowMs += minutesMax * minuteMs
      running.delete(id)
    },
  )
  return { began, left: left.map(({ id }) => id) }
}

it('runs one part after the other', async () => {
  const parts = [1, 2, 3].map((minutesMax) => ({ id: `R${minutesMax}`, minutesMax }))
  expect(await lived(parts, 1, 80)).toEqual({ began: ['R1', 'R2', 'R3'], left: [] })
})

it('two parts run side by side, and one that measures times alone', async () => {
  const parts: Part[] = [
    ...['R1', 'R2'].map((id) => ({ id, minutesMax: 1 })),
    { id: 'R3', minutesMax: 1, isAlone: true },
    { id: 'R4', minutesMax: 1 },
  ]
  expect((await lived(parts, 2, 80)).began).toEqual(['R1', 'R1+R2', 'R3', 'R4'])
})

it('leaves what might not end in time, and goes on with what does', async () => {
  const parts = [70, 75, 10].map((minutesMax) => ({ id: `R${minutesMax}`, minutesMax }))
  expect(await lived(parts, 1, 80)).toEqual({ began: ['R70', 'R10'], left: ['R75'] })
})

it('a part that throws is no reason to forget the others that run', async () => {
  const ended: string[] = []
  const failing = inLanes(
    ['R1', 'R2'].map((id) => ({ id, minutesMax: 1 })),
    { lanes: 2, withinMs: 80 * minuteMs, nowMs: () => 0 },
    async ({ id }) => {
      if (id === 'R1') throw new Error('no such program')
      ended.push(id)
    },
  )
  await expect(failing).rejects.toThrow('no such program')
  expect(ended).toEqual(['R2'])
})
