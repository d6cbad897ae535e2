import { expect, it } from 'vitest'
import { attemptTraceparent, jobTraceparent, spanIdOf } from './span-ids.ts'

const jobId = '01ceb60c-5987-4bec-b713-c28329b12377'
const traceparent = `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`

it('follows from job and epoch, as the worker computes it too', () => {
  expect(spanIdOf(jobId)).toBe('ea3081ad3df99c7c')
  expect(spanIdOf(jobId, 2)).toBe('90a081682758ff15')
})

it('keeps trace and flags for what hangs below', () => {
  const job = { jobId, epoch: 2, traceparent }
  expect(jobTraceparent(job)).toBe(`00-${'1'.repeat(32)}-ea3081ad3df99c7c-01`)
  expect(attemptTraceparent(job)).toBe(`00-${'1'.repeat(32)}-90a081682758ff15-01`)
  expect(jobTraceparent({ jobId, traceparent: traceparent.replace(/01$/, '00') })).toMatch(/-00$/)
})
