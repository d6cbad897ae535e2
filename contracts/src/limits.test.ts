import { describe, expect, it } from 'vitest'
import { aJob } from '../testing/index.ts'
import { hasOpenAttempt, isTerminal, jobKey, jobStates } from './job.ts'
import { deliveryBuckets, deliverySizeFor, limits } from './limits.ts'
import { aspects } from './render-options.ts'
import { buckets, consumers, publisherConsumer, streams } from './streams.ts'
import { publisherOfSubject, subjects } from './subjects.ts'
import { scaledTimings, timings } from './timings.ts'

describe('the delivery size', () => {
  it.each([
    [1920, 1080, '16:9', '16:9'],
    [8192, 128, '16:9', '16:9'],
    [512, 600, '1:1', '4:5'],
    [1000, 1000, '1:1', '1:1'],
    [1080, 1920, '9:16', '9:16'],
    [128, 8192, '9:16', '9:16'],
    [5, 4, '1:1', '5:4'],
    [4, 5, '1:1', '4:5'],
    [3, 2, '16:9', '3:2'],
    [2, 3, '9:16', '2:3'],
  ] as const)(
    'of %d×%d is %s, and with aspect=auto %s: the nearest ratio',
    (width, height, usual, auto) => {
      const sizeOf = (aspect: string) => {
        const bucket = deliveryBuckets.find((each) => each.aspect === aspect)
        return { width: bucket?.width, height: bucket?.height }
      }
      expect(deliverySizeFor({ width, height })).toEqual(sizeOf(usual))
      expect(deliverySizeFor({ width, height }, 'auto')).toEqual(sizeOf(auto))
    },
  )

  it('is the one that was asked for, whatever the picture, and nearly of its aspect', () => {
    for (const { aspect, width, height } of deliveryBuckets) {
      expect(deliverySizeFor({ width: 100, height: 900 }, aspect)).toEqual({ width, height })
      const [across = 1, down = 1] = aspect.split(':').map(Number)
      expect(width / height).toBeCloseTo(across / down, 5)
      expect([width % 16, height % 16]).toEqual([0, 0])
    }
    expect(aspects.slice(1).toSorted()).toEqual(
      deliveryBuckets.map((each) => each.aspect).toSorted(),
    )
  })
})

describe('the limits', () => {
  it('leave room for both files, the fields and the framing around them', () => {
    const whole = limits.imageMaxBytes + limits.audioMaxBytes + 4 * limits.promptMaxCharacters
    expect(limits.bodyMaxBytes).toBeGreaterThan(whole + 100_000)
    expect(limits.drainMaxBytes).toBeGreaterThan(limits.bodyMaxBytes)
  })
})

describe('the states of a record', () => {
  it('are open, terminal or neither, but never both', () => {
    const open = jobStates.filter((state) => hasOpenAttempt(aJob({ state })))
    const terminal = jobStates.filter((state) => isTerminal(aJob({ state })))
    expect(open).toEqual(['claimed', 'rendering', 'storing', 'cancelling'])
    expect(terminal).toEqual(['completed', 'failed', 'cancelled'])
  })

  it('are stored under a key that names owner and job', () => {
    expect(jobKey('o_abcDEF123456', 'x')).toBe('o_abcDEF123456.x')
  })
})

describe('the subjects', () => {
  const jobId = 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11'

  it('are those that the streams capture', () => {
    expect(subjects.event('render.started', jobId)).toBe(`evt.render.started.${jobId}`)
    expect(subjects.eventsOfJob(jobId)).toBe(`evt.*.*.${jobId}`)
    expect(subjects.scheduledDeletion(jobId)).toBe(`sched.delete.${jobId}`)
    expect(subjects.dueDeletion(jobId)).toBe(`due.delete.${jobId}`)
    expect(subjects.notify('acme', 'failed')).toBe('notify.acme.job.failed')
    expect(subjects.deadLetter('EVENTS', 'storage')).toBe('dlq.events.storage')
    expect(subjects.beat('w')).toBe('beat.w')
    expect(subjects.stop('w')).toBe('ctl.stop.w')
    expect(subjects.jobPosting('2026-11-29', 'o_abcDEF123456', jobId)).toBe(
      `ledger.job.2026-11.29.o_abcDEF123456.${jobId}`,
    )
    expect(subjects.workerPosting('2026-11-29', 'w', 'i')).toBe('ledger.worker.2026-11.29.w.i')
    expect(subjects.billPosting('2026-11-29', 'l40s')).toBe('ledger.bill.2026-11.29.l40s')
  })

  it('name the publisher of a submission, if its name is valid', () => {
    expect(publisherOfSubject('intake.acme-2.job.submitted')).toBe('acme-2')
    for (const wrong of ['intake.Acme.job.submitted', 'intake.a.b.job.submitted', 'evt.job.x', ''])
      expect(publisherOfSubject(wrong)).toBeUndefined()
  })
})

describe('the streams', () => {
  it('drop no timer because of a limit, and keep one posting of each subject', () => {
    expect(streams.SCHED).not.toHaveProperty('maxAgeMs')
    expect(streams.SCHED).not.toHaveProperty('maxBytes')
    expect(streams.LEDGER).not.toHaveProperty('maxBytes')
    expect(streams.LEDGER.maxMessagesPerSubject).toBe(1)
    expect(buckets.job.history).toBe(1)
  })

  it('have consumers whose filters do not overlap on a work queue', () => {
    const all = Object.values(consumers(timings))
    for (const { stream } of all) {
      if (streams[stream].retention !== 'workqueue') continue
      const filters = all.filter((each) => each.stream === stream).flatMap((each) => each.filters)
      expect(new Set(filters).size).toBe(filters.length)
    }
    expect(publisherConsumer('acme', timings)).toMatchObject({
      stream: 'NOTIFY',
      name: 'acme',
      filters: ['notify.acme.job.*'],
    })
  })
})

describe('the timings', () => {
  it('are ordered: whoever gives up does so after what it waits for', () => {
    // Otherwise an ask would be answered, and a job claimed, when its worker has asked again.
    expect(timings.askGraceMs).toBeLessThan(timings.askExtraMs)
    expect(timings.endedNamedMs).toBeGreaterThan(timings.silentAfterMs)
    expect(timings.beatEveryMs * 3).toBeLessThan(timings.silentAfterMs)
    expect(timings.admissionMs).toBeLessThan(timings.orphanAgeMs)
    expect(timings.watchRoundTripMs).toBeLessThan(timings.watchEveryMs)
    expect(timings.apiKeyCacheMs).toBeLessThan(5_000)
  })

  it('are all divided alike, and never become zero', () => {
    const scaled = scaledTimings(10)
    for (const [name, ms] of Object.entries(timings))
      expect(scaled[name as keyof typeof timings]).toBe(ms / 10)
    expect(Math.min(...Object.values(scaledTimings(1e9)))).toBe(1)
    expect(Object.isFrozen(scaled)).toBe(true)
  })
})
