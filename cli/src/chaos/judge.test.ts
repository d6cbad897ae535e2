import { type AnyEvent, type JobRecord, jobPrefix, outputKey } from '@avatar/contracts'
import { aJob, aRender } from '@avatar/contracts/testing'
import { describe, expect, it } from 'vitest'
import { type Evidence, judge, type Verdict } from './judge.ts'

const jobId = 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11'
const otherId = 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a12'
const owner = 'o_aaaaaaaaaaaa'
const stranger = 'o_bbbbbbbbbbbb'
const nowMs = 1_000_000

const completed = (difference: Partial<JobRecord> = {}) =>
  aJob({
    ...{ jobId, owner, state: 'completed', epoch: 1, createdAtMs: 1_000, finishedAtMs: 9_000 },
    ...{ expiresAtMs: nowMs + 1, result: aRender({ key: outputKey(jobId, 1) }) },
    ...difference,
  })
const fact = (type: AnyEvent['type'], epoch: number, revision: number, of = owner) =>
  // Only what every event has is looked at.
  ({ type, jobId, owner: of, epoch, revision, atMs: 1 }) as AnyEvent
const smooth = [
  fact('job.submitted', 0, 1),
  fact('job.queued', 0, 2),
  fact('render.started', 1, 0),
  fact('job.started', 1, 4),
  fact('job.completed', 1, 7),
]
const video = { key: outputKey(jobId, 1), ageMs: 1_000 }
const good: Evidence = {
  accepted: [{ jobId, owner, name: 'first' }],
  records: [completed()],
  events: smooth,
  objects: [video],
  sightings: [
    { jobId, attempt: 0, progress: 0, isOver: false },
    { jobId, attempt: 1, progress: 40, isOver: false },
    { jobId, attempt: 1, progress: 100, isOver: true },
  ],
  foreignAnswers: [{ jobId, status: 404 }],
  faults: [],
  nowMs,
  orphanAgeMs: 60_000,
  sweepEveryMs: 30_000,
  deletionGraceMs: 5_000,
}

/** The invariants that are violated, and what the first sentence of each says. */
function found(difference: Partial<Evidence>): Partial<Record<Verdict['invariant'], string>> {
  const bad = judge({ ...good, ...difference }).filter(({ violations }) => violations.length > 0)
  return Object.fromEntries(bad.map(({ invariant, violations }) => [invariant, violations[0]]))
}

it('finds nothing in a run in which all went well, and says how much it looked at', () => {
  expect(found({})).toEqual({})
  for (const { checked } of judge(good)) expect(checked).toBeGreaterThan(0)
})

it('a view that tells no progress is no step back, and hides none', () => {
  const at = (progress: number | undefined) => ({ jobId, attempt: 1, progress, isOver: false })
  expect(found({ sightings: [at(99), at(undefined)] })).toEqual({})
  expect(found({ sightings: [at(99), at(undefined), at(40)] }).I4).toContain(
    'from 99 % back to 40 %',
  )
})

it('what may happen under faults is no violation', () => {
  const again = [
    ...smooth.slice(0, 4),
    fact('job.attempt-lost', 1, 5),
    fact('render.started', 2, 0),
    fact('job.started', 2, 8),
    fact('job.completed', 2, 9),
    // The same event outside the broker's window for duplicates, and a worker that was suspended.
    fact('job.completed', 2, 9),
    fact('render.completed', 1, 0),
  ]
  const result = aRender({ key: outputKey(jobId, 2) })
  expect(
    found({
      events: again,
      records: [completed({ epoch: 2, result })],
      faults: [{ fromMs: 2_000, untilMs: 2_000 }],
      // What the suspended worker stored is not old yet.
      objects: [video, { key: outputKey(jobId, 2), ageMs: 95_000 }],
    }),
  ).toEqual({})
  // What came behind the deletion stays until the next sweep.
  const deleted = completed({ expiresAtMs: nowMs - 60_000, deletedAtMs: nowMs - 40_000 })
  expect(found({ records: [deleted], objects: [{ ...video, ageMs: 35_000 }] })).toEqual({})
})

describe('planted violations', () => {
  it('I1: a job that is lost, or never ends', () => {
    expect(found({ records: [], events: [], objects: [] }).I1).toContain('has no record')
    const stuck = found({ records: [completed({ state: 'storing' })] })
    expect(stuck.I1).toContain('is storing and has not ended')
  })

  it('I2: a job that ends twice, in no event, or otherwise than its record says', () => {
    const twice = found({ events: [...smooth, fact('job.completed', 2, 9)] })
    expect(twice.I2).toContain('has 2 ends')
    const both = found({ events: [...smooth, fact('job.cancelled', 1, 9)] })
    expect(both.I2).toContain('has 2 ends')
    expect(found({ events: smooth.slice(0, 4) }).I2).toContain('has 0 ends: none')
    expect(found({ records: [completed({ state: 'failed' })] }).I2).toContain(
      'is failed, and its event says job.completed',
    )
  })

  it('I3: an object that stays, and a video that is not there', () => {
    const old = { ageMs: 95_001 }
    const second = found({ objects: [video, { key: outputKey(jobId, 2), ...old }] })
    expect(second.I3).toContain('is not the result of its job')
    const orphan = found({ objects: [video, { key: `${jobPrefix(otherId)}input/x.png`, ...old }] })
    expect(orphan.I3).toContain('belongs to no job')
    const expired = found({ records: [completed({ expiresAtMs: nowMs - 5_001 })] })
    expect(expired.I3).toContain('past the time of its job')
    const deletedAtMs = nowMs - 40_000
    const unswept = { records: [completed({ expiresAtMs: nowMs - 60_000, deletedAtMs })] }
    const before = found({ ...unswept, objects: [{ ...video, ageMs: 45_001 }] })
    expect(before.I3).toContain('past the time of its job')
    const after = found({ ...unswept, objects: [{ ...video, ageMs: 35_001 }] })
    expect(after.I3).toContain('its job was deleted 40 s ago')
    expect(found({ objects: [] }).I3).toContain('is completed without its video')
  })

  it('I4: an epoch that goes back, an end that is left, a view that falls', () => {
    expect(found({ events: [...smooth, fact('render.started', 2, 0)] }).I4).toContain(
      'went back behind epoch 2',
    )
    const fallen = [fact('job.started', 2, 3), ...smooth.slice(1)]
    const fell = found({ events: fallen, records: [completed({ epoch: 2 })] })
    expect(fell.I4).toContain('started epoch 1 after a later')
    expect(found({ events: [...smooth, fact('job.queued', 1, 8)] }).I4).toContain('left its end')
    const [first, second, last] = good.sightings
    const seen = (...sightings: typeof good.sightings) => found({ sightings }).I4
    if (!first || !second || !last) throw new Error('three sightings are expected')
    expect(seen(last, { ...second, progress: undefined })).toContain(
      'was seen at its end, and then before it',
    )
    expect(seen(second, first)).toContain('was seen in 1, then 0')
    expect(seen(second, { ...second, progress: 39 })).toContain('went from 40 % back to 39 %')
  })

  it('I5: a render that no fault asked for', () => {
    const events = [
      ...smooth.slice(0, 4),
      fact('render.started', 2, 0),
      fact('job.completed', 2, 9),
    ]
    const records = [
      completed({ epoch: 2, result: aRender({ key: outputKey(jobId, 2) }), finishedAtMs: 9_000 }),
    ]
    const objects = [{ key: outputKey(jobId, 2), ageMs: 1 }]
    const twice = { events, records, objects }
    expect(found(twice)).toEqual({ I5: `${jobId} was rendered 2 times, with 0 faults` })
    const later = [{ fromMs: 9_001, untilMs: 9_500 }]
    expect(found({ ...twice, faults: later }).I5).toContain('with 0 faults')
    expect(found({ ...twice, faults: [{ fromMs: 500, untilMs: 500 }] })).toEqual({})
  })

  it("I6: a job that is said to be somebody else's, or is shown to them", () => {
    expect(found({ records: [completed({ owner: stranger })] }).I6).toContain(stranger)
    const events = [...smooth, fact('job.deleted', 1, 9, stranger)]
    expect(found({ events }).I6).toContain(`also said to be ${stranger}'s`)
    expect(found({ foreignAnswers: [{ jobId, status: 200 }] }).I6).toContain('was answered 200')
  })

  it('I7: one key that made two jobs, and a job that nobody was given', () => {
    const accepted = [...good.accepted, { jobId: otherId, owner, name: 'first' }]
    expect(found({ accepted }).I7).toContain('first is 2 jobs')
    const records = [completed(), aJob({ jobId: otherId, owner })]
    expect(found({ records }).I7).toContain('is a job that nobody was given')
  })
})
