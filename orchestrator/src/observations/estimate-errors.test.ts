import { aJob, aRender } from '@avatar/contracts/testing'
import { expect, it } from 'vitest'
import { estimateErrors } from './estimate-errors.ts'

const createdAtMs = 1_700_000_000_000
const done = aJob({
  ...{ state: 'completed', createdAtMs, finishedAtMs: createdAtMs + 50_000 },
  result: aRender({ renderSeconds: 8 }),
  ...{ estimatedSeconds: 12, used: { gpuSeconds: 10 } },
  told: { renderSeconds: 99, completesAtMs: createdAtMs + 40_000 },
})

it('is the difference as a part of what it took, of the render and of the whole wait', () => {
  expect(estimateErrors(done)).toEqual([
    { of: 'render', ratio: 0.2 },
    { of: 'finish', ratio: 0.2 },
  ])
})

it('counts the seconds of the video’s render where the worker told no GPU time', () => {
  const { used: _, ...job } = done
  expect(estimateErrors(job)[0]).toEqual({ of: 'render', ratio: 0.5 })
})

it('is of the render alone where nobody could tell when the job would be done', () => {
  expect(estimateErrors({ ...done, told: { renderSeconds: 12 } })).toEqual([
    { of: 'render', ratio: 0.2 },
  ])
  const { told: _, ...job } = done
  expect(estimateErrors(job)).toEqual([{ of: 'render', ratio: 0.2 }])
})

it('is none of a job that did not complete', () => {
  const { result: _, ...job } = done
  expect(estimateErrors(job)).toEqual([])
})
