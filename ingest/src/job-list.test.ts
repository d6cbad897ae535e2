import { describe, expect, it } from 'vitest'
import { createJobList, type PageEnd } from './job-list.ts'

const ids = (jobs: PageEnd[]) => jobs.map(({ jobId }) => jobId).join('')

function aList(...jobs: [createdAtMs: number, jobId: string][]) {
  const list = createJobList()
  for (const [createdAtMs, jobId] of jobs) list.add({ createdAtMs, jobId })
  return list
}

describe('the list of an owner’s jobs', () => {
  it('goes by creation, newest first, and by id between twins, however they came', () => {
    const list = aList([3, 'd'], [1, 'a'], [2, 'c'], [2, 'b'])
    expect(ids(list.page(undefined, 9))).toBe('dcba')
  })

  it('gives page after page, also behind a job that is gone', () => {
    const list = aList([1, 'a'], [2, 'b'], [3, 'c'], [4, 'd'])
    const [, end] = list.page(undefined, 2)
    expect(end?.jobId).toBe('c')
    list.remove('c')
    expect(ids(list.page(end, 2))).toBe('ba')
    expect(list.page({ createdAtMs: 1, jobId: 'a' }, 2)).toEqual([])
  })

  it('has each job once', () => {
    const list = aList([1, 'a'], [2, 'b'], [1, 'a'], [2, 'b'])
    expect(list.size()).toBe(2)
    expect(list.has({ createdAtMs: 1, jobId: 'a' })).toBe(true)
    expect(list.has({ createdAtMs: 1, jobId: 'b' })).toBe(false)
    for (const jobId of ['a', 'b', 'x']) list.remove(jobId)
    expect(list.size()).toBe(0)
  })
})
