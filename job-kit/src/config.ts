import {
  currencySchema,
  deadlineMinSeconds,
  type PoolPrices,
  parsePoolPrices,
} from '@avatar/contracts'
import { z } from 'zod'

/** How long media are kept after their job has ended. */
export const retentionConfig = {
  VIDEO_RETENTION_HOURS: z.coerce
    .number()
    .positive()
    .max(24 * 7)
    .default(6)
    .describe('media are deleted this long after the end of their job; decimals allowed'),
}

/** The shortest time that a render may take. */
export const deadlineConfig = {
  RENDER_DEADLINE_MIN_SECONDS: z.coerce
    .number()
    .positive()
    .default(deadlineMinSeconds)
    .describe('shortest deadline of a render; the deadline is this or the estimate × 1.5'),
}

/** What GPU seconds cost. */
export const priceConfig = {
  POOL_PRICES: z
    .string()
    .default('')
    .transform((text, context): PoolPrices => {
      try {
        return parsePoolPrices(text)
      } catch (error) {
        context.addIssue(error instanceof Error ? error.message : String(error))
        return z.NEVER
      }
    })
    .describe(
      'price of a GPU second by pool, such as l40s=0.00053,local=0; a pool that is not named costs nothing',
    ),
  CURRENCY: currencySchema
    .default('USD')
    .describe('currency of prices, budgets and costs, by its three letters of ISO 4217'),
}
