import { describe, expect, it } from 'vitest'
import { aJob } from '../testing/index.ts'
import { jobStates } from './job.ts'
import { limitNames, limitsInForce } from './limit-table.ts'
import { createOpenJobs, takesGpu } from './open-jobs.ts'
import { ownerLimitsSchema } from './owner-limits.ts'

const otherId = 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a12'

describe('the open jobs', () => {
  it('are counted by owner until they end, with their renders and their estimates', () => {
    const open = createOpenJobs()
    const nothing = { jobs: 0, renders: 0, estimatedSeconds: 0 }
    const job = aJob({ estimatedSeconds: 8.1 })
    const other = aJob({ jobId: otherId, owner: 'acme', estimatedSeconds: 0.2 })
    open.note(job)
    open.note({ ...job, state: 'rendering' })
    open.note(other)
    expect(open.totalOf(job.owner)).toEqual({ jobs: 1, renders: 1, estimatedSeconds: 8.1 })
    expect(open.totalOf('acme')).toEqual({ jobs: 1, renders: 0, estimatedSeconds: 0.2 })
    expect(open.total()).toEqual({ jobs: 2, renders: 1, estimatedSeconds: 8.3 })
    open.note({ ...job, state: 'completed' })
    expect([open.totalOf(job.owner), open.total().jobs]).toEqual([nothing, 1])
    open.forget(otherId)
    open.forget(otherId)
    expect(open.total()).toEqual(nothing)
  })

  it('take a GPU from the claim to the video', () => {
    expect(jobStates.filter((state) => takesGpu({ state }))).toEqual([
      ...['claimed', 'rendering', 'cancelling'],
    ])
  })
})

describe('the limits of an owner', () => {
  it('are all in the table', () => {
    expect(limitNames.toSorted()).toEqual(Object.keys(ownerLimitsSchema.shape).toSorted())
  })

  it('are its own, and the defaults where it has none', () => {
    expect(limitsInForce({ renders: 2 }, { renders: 5, share: 1 })).toEqual({
      ...{ renders: 2, share: 1 },
    })
  })
})
