import { natsConfig, retentionConfig, runtimeConfig, s3Config } from '@avatar/service-kit'
import { z } from 'zod'

/** The orchestrator's environment. */
export const orchestratorConfigSchema = z.object({
  ...natsConfig,
  ...s3Config,
  ...runtimeConfig,
  ...retentionConfig,
  RENDER_DEADLINE_MIN_SECONDS: z.coerce
    .number()
    .positive()
    .default(600)
    .describe('least time a render may take; the deadline is this or the estimate × 1.5'),
  PRESIGNED_URL_TTL_SECONDS: z.coerce
    .number()
    .int()
    .min(60)
    .max(86_400)
    .default(3600)
    .describe('how long a worker may use the URLs of one attempt'),
})

export type OrchestratorConfig = z.output<typeof orchestratorConfigSchema>
