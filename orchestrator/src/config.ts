import {
  deadlineConfig,
  priceConfig,
  quotaConfig,
  retentionConfig,
  serviceLimitConfig,
} from '@avatar/job-kit'
import { natsConfig, runtimeConfig, storeConfig, withStoreAddress } from '@avatar/service-kit'
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
    }),
  ),
)

export type OrchestratorConfig = z.output<typeof orchestratorConfigSchema>
