import { type JobRecord, outputKey } from '@avatar/contracts'
import { aJob, anEvent, aRender } from '@avatar/contracts/testing'
import { expect, it } from 'vitest'
import { type Remains, whatStays } from './what-stays.ts'

const jobId = 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11'
const stranger = 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a12'
const nowMs = 1_000_000
const patience = { graceMs: 1_000, orphanAgeMs: 10_000, intakeAgeMs: 50_000 }
const aDeletion = anEvent('job.deleted', { jobId, removed: [] })

const job = (difference: Partial<JobRecord> = {}) =>
  aJob({
    ...{ jobId, state: 'completed', epoch: 2, expiresAtMs: nowMs - 5_000, deletedAtMs: nowMs },
    result: aRender({ key: outputKey(jobId, 2) }),
    ...difference,
  })
const gone: Remains = {
  records: [job()],
  deletions: [aDeletion],
  objects: [],
  timers: [],
  spooled: [],
  prompts: [],
  nowMs,
}
const placesOf = (difference: Partial<Remains>) =>
  whatStays({ ...gone, ...difference }, patience).map(({ place }) => place)

const young = { ...job({ expiresAtMs: nowMs + 5_000 }) }
const living = aJob({ jobId, state: 'rendering', epoch: 1 })
const { deletedAtMs: _at, ...unrecorded } = job()
const old = 20_000

it('finds nothing of a job that was deleted', () => {
  expect(placesOf({})).toEqual([])
})

it('finds each kind of leftover of a job past its time', () => {
  expect(placesOf({ objects: [{ key: `jobs/${jobId}/input/a.png`, ageMs: 1 }] })).toEqual([
    'bucket',
  ])
  expect(placesOf({ records: [unrecorded] })).toEqual(['record'])
  expect(placesOf({ deletions: [] })).toEqual(['events'])
  expect(placesOf({ timers: [jobId] })).toEqual(['timers'])
  const subject = `evt.job.failed.${jobId}`
  expect(placesOf({ prompts: [{ jobId, subject }] })).toEqual(['events'])
  const folder = `/spool/sidecar/${jobId}`
  expect(placesOf({ spooled: [{ folder, jobId, ageMs: 1_001 }] })).toEqual(['spools'])
})

it('finds what belongs to no job, once no admission can be at work on it', () => {
  const object = { key: `jobs/${stranger}/input/a.png` }
  expect(placesOf({ objects: [{ ...object, ageMs: old }] })).toEqual(['bucket'])
  expect(placesOf({ objects: [{ ...object, ageMs: 5_000 }] })).toEqual([])
  const upload = { folder: `/spool/ingest/${stranger}`, jobId: stranger }
  expect(placesOf({ spooled: [{ ...upload, ageMs: old }] })).toEqual(['spools'])
  expect(placesOf({ spooled: [{ ...upload, ageMs: 5_000 }] })).toEqual([])
  expect(placesOf({ timers: [stranger] })).toEqual(['timers'])
  const left = { key: 'intake/acme/a.png' }
  expect(placesOf({ objects: [{ ...left, ageMs: old }] })).toEqual([])
  expect(placesOf({ objects: [{ ...left, ageMs: 60_000 }] })).toEqual(['bucket'])
})

it('finds the video of an attempt that was given up, and leaves the result until its time', () => {
  const first = { key: outputKey(jobId, 1), ageMs: old }
  const result = { key: outputKey(jobId, 2), ageMs: old }
  expect(placesOf({ records: [young], objects: [first, result] })).toEqual(['bucket'])
})

it('leaves a living job, and one whose time has just come, alone', () => {
  const objects = [{ key: outputKey(jobId, 1), ageMs: old }]
  const spooled = [{ folder: `/spool/sidecar/${jobId}`, jobId, ageMs: old }]
  const timers = [jobId]
  expect(placesOf({ records: [living], objects, spooled, deletions: [] })).toEqual([])
  const due = { ...unrecorded, expiresAtMs: nowMs - 500 }
  expect(placesOf({ records: [due], objects: [], timers, deletions: [] })).toEqual([])
})
