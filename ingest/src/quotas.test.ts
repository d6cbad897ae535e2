import { createOpenJobs, createUsage, type OwnerLimits } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { AppError, systemClock } from '@avatar/service-kit'
import { expect, it } from 'vitest'
import type { Board } from './board.ts'
import type { IngestConfig } from './config.ts'
import { createQuotas } from './quotas.ts'
import type { Workers } from './workers.ts'

const owner = 'o_abcDEF123456'

/** The quotas of an owner with these limits; `isRead` tells what this process has read so far. */
function quotasOf(own: OwnerLimits, isRead = { board: true, ledger: true, limits: true }) {
  const open = createOpenJobs()
  const part = (name: keyof typeof isRead) => ({
    start: async () => undefined,
    stop: async () => undefined,
    isReady: () => isRead[name],
  })
  // Only what the quotas look at.
  const board = {
    ...part('board'),
    ...{ openOf: open.totalOf, openOfAll: open.total, nextEndSeconds: () => 7 },
  } as unknown as Board
  const quotas = createQuotas({
    board,
    ledger: { ...part('ledger'), usage: createUsage },
    limits: { ...part('limits'), limitsOf: () => own },
    workers: { alive: () => [] } as unknown as Workers,
    clock: systemClock,
    config: { POOL_PRICES: {}, QUEUE_MAX_JOBS: 100 } as IngestConfig,
  })
  return { quotas, open }
}

function codeOf(act: () => unknown): string | undefined {
  try {
    act()
    return undefined
  } catch (error) {
    return error instanceof AppError ? error.code : String(error)
  }
}

it.each(['board', 'ledger', 'limits'] as const)(
  'takes no job before this is read, so that no restart passes a limit: %s',
  (name) => {
    const isRead = { board: true, ledger: true, limits: true, [name]: false }
    const { quotas } = quotasOf({}, isRead)
    expect(quotas.refusalOf(owner)).toMatchObject({
      code: 'BROKER_UNAVAILABLE',
      retryAfterMs: 2_000,
    })
    isRead[name] = true
    expect(quotas.refusalOf(owner)).toBeUndefined()
    // A watch that breaks later on keeps what it knew.
    isRead[name] = false
    expect(quotas.refusalOf(owner)).toBeUndefined()
  },
)

it('counts what it is admitting until the board knows the job, or the admission has failed', () => {
  const { quotas, open } = quotasOf({ unfinishedJobs: 2, gpuSecondsPerDay: 25 })
  const first = quotas.reserve(owner, 10)
  const second = quotas.reserve(owner, 10)
  expect(codeOf(() => quotas.reserve(owner, 1))).toBe('TOO_MANY_JOBS')
  second.release()
  open.note(aJob({ owner, estimatedSeconds: 10 }))
  first.release()
  expect(codeOf(() => quotas.reserve(owner, 16))).toBe('GPU_SECONDS_EXHAUSTED')
  expect(codeOf(() => quotas.reserve(owner, 15))).toBeUndefined()
  expect(quotas.refusalOf(owner)).toMatchObject({ code: 'TOO_MANY_JOBS', retryAfterMs: 7_000 })
  expect(quotas.refusalOf('acme')).toBeUndefined()
})
