import { anyEventOf, eventId } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { expect, it } from 'vitest'
import { deletedEvent, factOf } from './publish-event.ts'

it('takes owner and attempt of an event from the job’s record', () => {
  const job = aJob({ owner: 'acme', epoch: 3 })
  expect(factOf(job, 17, 1_700_000_000_001)).toEqual({
    ...{ jobId: job.jobId, owner: 'acme', epoch: 3, revision: 17, atMs: 1_700_000_000_001 },
  })
})

it('builds an event that follows its schema', () => {
  const event = deletedEvent(factOf(aJob({ epoch: 2 }), 1, 5), [])
  expect(anyEventOf(['job.deleted']).parse(event)).toEqual(event)
  expect(eventId(event)).toBe(`${event.jobId}:job.deleted:2`)
})
