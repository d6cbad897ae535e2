import { scaledTimings } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { expect, it } from 'vitest'
import { afterFailure, afterLoss } from './retry.ts'

const timings = scaledTimings(1)

it('counts the death of a render process as a death, with a backoff', () => {
  expect(afterFailure(aJob(), 'RENDER_PROCESS_DIED', 1000, timings)).toEqual({
    again: true,
    counted: { deaths: 1, notBeforeMs: 2000 },
  })
})

it('counts nothing when the failure ends the job anyway', () => {
  expect(afterFailure(aJob({ failures: 1 }), 'INPUT_GONE', 0, timings)).toEqual({
    again: false,
    code: 'INPUT_GONE',
    counted: {},
  })
})

it('does not count a loss before the first denoising step as a death', () => {
  expect(afterLoss(aJob({ state: 'claimed' }), 0, timings)).toEqual({
    again: true,
    counted: { losses: 1 },
  })
})
