import { poolSchema } from '@avatar/contracts'
import {
  deadlineConfig,
  priceConfig,
  quotaConfig,
  retentionConfig,
  serviceLimitConfig,
} from '@avatar/job-kit'
import {
  listed,
  natsConfig,
  runtimeConfig,
  storeConfig,
  withStoreAddress,
} from '@avatar/service-kit'
import { z } from 'zod'
import { scaleConfig, withProvider } from './scale/scale-config.ts'

/** The orchestrator's environment. */
export const orchestratorConfigSchema = withStoreAddress(
  withProvider(
    z.object({
      ...natsConfig,
      ...storeConfig,
      ...runtimeConfig,
      ...retentionConfig,
      ...deadlineConfig,
      ...priceConfig,
      ...quotaConfig,
      ...scaleConfig,
      SERVICE_BUDGET_PER_DAY: serviceLimitConfig.SERVICE_BUDGET_PER_DAY,
      PRESIGNED_URL_TTL_SECONDS: z.coerce
        .number()
        .int()
        .min(60)
        .max(86_400)
        .default(3600)
        .describe('how long the presigned URLs of one attempt are valid'),
      LOCAL_POOLS: z
        .string()
        .default('local')
        .transform(listed)
        .refine((pools) => pools.every((pool) => poolSchema.safeParse(pool).success), {
          error: 'must be names of pools, separated by commas',
        })
        .describe(
          'pools whose workers reach the store at S3_ENDPOINT, separated by commas; ' +
            'workers of all others are given links at S3_PUBLIC_ENDPOINT',
        ),
    }),
  ),
)

export type OrchestratorConfig = z.output<typeof orchestratorConfigSchema>
