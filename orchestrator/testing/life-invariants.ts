import {
  hasOpenAttempt,
  isTerminal,
  type JobRecord,
  type JobState,
  outputKey,
} from '@avatar/contracts'
import { expect } from 'vitest'
import type { Message } from '../src/states/decide.ts'
import { get, type Life } from './life.ts'

const order: readonly JobState[] = ['claimed', 'rendering', 'storing', 'cancelling']

/**
 * Checked at every write of a record: its inputs never change, it never leaves a terminal state, only a
 * claim starts a new epoch, an attempt never moves backwards, and neither do the times that clients see,
 * although the clock may.
 */
export function expectLegalChange(before: JobRecord, after: JobRecord, { kind }: Message) {
  for (const fixed of ['jobId', 'owner', 'fingerprint', 'nonce', 'image', 'audio'] as const)
    expect(after[fixed]).toEqual(before[fixed])
  if (isTerminal(before)) expect(after).toEqual({ ...before, deletedAtMs: after.deletedAtMs })
  expect(after.epoch - before.epoch).toBe(kind === 'claim' ? 1 : 0)
  if (before.state !== 'pending') expect(after.state).not.toBe('pending')
  if (hasOpenAttempt(before) && hasOpenAttempt(after))
    expect(order.indexOf(after.state)).toBeGreaterThanOrEqual(order.indexOf(before.state))
  if (before.uploaded && hasOpenAttempt(after)) expect(after.uploaded).toEqual(before.uploaded)
  if (before.uploaded && after.state === 'queued') expect(kind).toBe('refused')
  if (after.state === 'queued')
    expect([after.uploaded, after.worker]).toEqual([undefined, undefined])
  if (after.state === 'completed') expect(after.result).toEqual(before.uploaded)
  const { createdAtMs, queuedAtMs, startedAtMs, finishedAtMs, deletedAtMs } = after
  const times = [createdAtMs, queuedAtMs, startedAtMs, finishedAtMs, deletedAtMs]
  const known = times.filter((ms) => ms !== undefined)
  expect(known).toEqual(known.toSorted((a, b) => a - b))
  if (before.queuedAtMs) expect(queuedAtMs).toBeGreaterThanOrEqual(before.queuedAtMs)
  const epochs = (after.spent ?? []).map(({ epoch }) => epoch)
  expect(new Set(epochs).size).toBe(epochs.length)
  if (!hasOpenAttempt(after)) expect(epochs).toHaveLength(after.epoch)
  if (before.turn) expect(after.turn?.start).toBe(before.turn.start)
  if (isTerminal(after)) expect(after.expiresAtMs).toBeGreaterThanOrEqual(finishedAtMs ?? Infinity)
}

/**
 * Checked after every step: a job's end is published once and is that of its record, a result is
 * stored, and nothing costs a job an attempt but what really happened to it.
 */
export function expectHonest(life: Life) {
  for (const job of life.jobs.values()) {
    const { jobId, state, result, failures, deaths, losses, epoch } = job
    const published = [...get(life.facts, jobId)]
    if (published.length > 0) expect(published).toEqual([`job.${state}`])
    if (result) expect(result.key).toBe(outputKey(jobId, epoch))
    if (result) expect(life.objects.has(result.key)).toBe(true)
    const { lost, failed, given } = get(life.faults, jobId)
    expect(epoch).toBeLessThanOrEqual(1 + lost + failed + given)
    expect(failures).toBeLessThanOrEqual(failed)
    // The watch may be faster than the event by which a worker gave up its attempt.
    expect(deaths + losses).toBeLessThanOrEqual(lost + failed + given)
    if (state === 'failed') expect([failures >= 3, deaths >= 6, losses >= 12]).toContain(true)
  }
}
