import { type OwnerLimits, ownerLimitsSchema, parseAmount } from '@avatar/contracts'
import { z } from 'zod'

const { shape } = ownerLimitsSchema

/** A number within the bounds that the owner's own limit has. */
const count = (limit: z.ZodOptional<z.ZodType<number, number>>) =>
  z.coerce.number().pipe(limit.unwrap())

/** An amount of money in millionths, written as decimal text. */
function amount() {
  return z.string().transform((text, context) => {
    try {
      return parseAmount(text)
    } catch (error) {
      context.addIssue(error instanceof Error ? error.message : String(error))
      return z.NEVER
    }
  })
}

/** How fast an owner may call whom the operator has given no limits of its own. */
export const rateConfig = {
  LIMIT_SUBMITS_PER_MINUTE: count(shape.submitsPerMinute)
    .default(120)
    .describe('jobs that one owner may submit a minute, over HTTP and by events'),
  LIMIT_SUBMIT_BURST: count(shape.submitBurst).default(100).describe('and at once'),
  LIMIT_READS_PER_MINUTE: count(shape.readsPerMinute)
    .default(3_000)
    .describe('other calls of one owner a minute'),
  LIMIT_READ_BURST: count(shape.readBurst).default(600).describe('and at once'),
}

/** How much an owner may have and spend whom the operator has given no limits of its own. */
export const quotaConfig = {
  LIMIT_UNFINISHED_JOBS: count(shape.unfinishedJobs)
    .default(2_000)
    .describe('jobs of one owner that have not ended'),
  LIMIT_RENDERS: count(shape.renders)
    .optional()
    .describe('renders of one owner at the same time; without it, any number'),
  LIMIT_GPU_SECONDS_PER_DAY: count(shape.gpuSecondsPerDay)
    .optional()
    .describe('GPU seconds charged to one owner a day, UTC; without it, any number'),
  LIMIT_BUDGET_PER_DAY: amount()
    .optional()
    .describe('money charged to one owner a day, UTC, such as 12.50; without it, any amount'),
  LIMIT_BUDGET_PER_MONTH: amount().optional().describe('the same a month'),
  LIMIT_SHARE: count(shape.share)
    .default(1)
    .describe('part of the GPU time of one owner, against the others who wait'),
}

/** How much the whole service may have and spend. */
export const serviceLimitConfig = {
  QUEUE_MAX_JOBS: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_000_000)
    .default(20_000)
    .describe('jobs of all owners that have not ended'),
  SERVICE_BUDGET_PER_DAY: amount()
    .optional()
    .describe('money spent a day, UTC, whoever pays it; then priced pools start no job'),
}

const limitConfigSchema = z.object({ ...rateConfig, ...quotaConfig })

/** The limits of an owner without any of its own, as far as a service reads them. */
export function defaultLimitsOf(config: Partial<z.output<typeof limitConfigSchema>>): OwnerLimits {
  const limits: Record<keyof OwnerLimits, number | undefined> = {
    submitsPerMinute: config.LIMIT_SUBMITS_PER_MINUTE,
    submitBurst: config.LIMIT_SUBMIT_BURST,
    readsPerMinute: config.LIMIT_READS_PER_MINUTE,
    readBurst: config.LIMIT_READ_BURST,
    unfinishedJobs: config.LIMIT_UNFINISHED_JOBS,
    renders: config.LIMIT_RENDERS,
    gpuSecondsPerDay: config.LIMIT_GPU_SECONDS_PER_DAY,
    budgetPerDayMicros: config.LIMIT_BUDGET_PER_DAY,
    budgetPerMonthMicros: config.LIMIT_BUDGET_PER_MONTH,
    share: config.LIMIT_SHARE,
  }
  // What is undefined must not stand in the way of another default.
  return ownerLimitsSchema.parse(
    Object.fromEntries(Object.entries(limits).filter(([, limit]) => limit !== undefined)),
  )
}
