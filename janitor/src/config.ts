import { natsConfig, retentionConfig, runtimeConfig, s3Config } from '@avatar/service-kit'
import { z } from 'zod'

/** The janitor's environment. */
export const janitorConfigSchema = z.object({
  ...natsConfig,
  ...s3Config,
  ...runtimeConfig,
  ...retentionConfig,
})
