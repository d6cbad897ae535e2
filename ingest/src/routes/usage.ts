import {
  committedOf,
  dayOf,
  dearestPriceMicros,
  envelopeOf,
  formatMicros,
  type GpuSum,
  limitsInForce,
  monthOf,
  nextDayMs,
  nextMonthMs,
  type UsageView,
  usageViewSchema,
} from '@avatar/contracts'
import { defaultLimitsOf } from '@avatar/job-kit'
import { AppError } from '@avatar/service-kit'
import type { Api, AppDeps } from '../app-deps.ts'
import { toTenths } from '../views.ts'
import { failureAnswers } from './answers.ts'

/** `GET /usage`: what the caller may do, and what counts against it. */
export function routeUsage(app: Api, deps: AppDeps) {
  const defaults = defaultLimitsOf(deps.config)
  const dearestMicros = dearestPriceMicros(deps.config.POOL_PRICES)

  /** @throws AppError BROKER_UNAVAILABLE until everything is read that counts */
  async function usageOf(owner: string): Promise<UsageView> {
    if (![deps.board, deps.limits, deps.ledger].every((part) => part.isReady?.()))
      throw new AppError('BROKER_UNAVAILABLE')
    const nowMs = deps.clock.nowMs()
    const limits = limitsInForce(deps.limits.limitsOf(owner), defaults)
    const open = deps.board.openOf(owner)
    const committed = committedOf(open, dearestMicros)
    const ofDay = deps.ledger.usage().chargedTo(owner, dayOf(nowMs))
    const ofMonth = deps.ledger.usage().chargedTo(owner, monthOf(dayOf(nowMs)))

    const rate = async (policy: string, perMinute = 0, burst = 0) => {
      // The bucket is in memory: lost, it counts as empty.
      const found = await deps.rateRecords.find(`${owner}.${policy}`).catch(() => undefined)
      const aheadMs = Math.max(0, (found?.value.tatMs ?? 0) - nowMs)
      const used = Math.min(burst, Math.ceil((aheadMs * perMinute) / 60_000))
      return { per_minute: perMinute, burst, used }
    }
    const budget = (limit: number | undefined, charged: GpuSum, resetsAtMs: number) => ({
      limit: limit === undefined ? null : formatMicros(limit),
      used: formatMicros(charged.micros),
      committed: formatMicros(committed.micros),
      resets_at: new Date(resetsAtMs).toISOString(),
    })
    return {
      submits: await rate('submit', limits.submitsPerMinute, limits.submitBurst),
      reads: await rate('read', limits.readsPerMinute, limits.readBurst),
      unfinished_jobs: { limit: limits.unfinishedJobs ?? null, used: open.jobs },
      renders: { limit: limits.renders ?? null, used: open.renders },
      gpu_seconds_per_day: {
        limit: limits.gpuSecondsPerDay ?? null,
        used: toTenths(ofDay.gpuSeconds),
        committed: toTenths(committed.gpuSeconds),
        resets_at: new Date(nextDayMs(nowMs)).toISOString(),
      },
      budget_per_day: budget(limits.budgetPerDayMicros, ofDay, nextDayMs(nowMs)),
      budget_per_month: budget(limits.budgetPerMonthMicros, ofMonth, nextMonthMs(nowMs)),
      currency: deps.config.CURRENCY,
      share: limits.share ?? 1,
    }
  }

  app.get(
    '/usage',
    {
      schema: {
        operationId: 'getUsage',
        summary: 'Your limits, and what is used of them',
        response: {
          200: envelopeOf(usageViewSchema).describe('What holds at this moment.'),
          ...failureAnswers(),
        },
      },
    },
    async (request) => ({
      data: await usageOf(request.owner),
      meta: { request_id: request.id },
    }),
  )
}
