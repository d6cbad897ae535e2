import { retentionConfig } from '@avatar/job-kit'
import { natsConfig, runtimeConfig, storeConfig, withStoreAddress } from '@avatar/service-kit'
import { z } from 'zod'

/** The janitor's environment. */
export const janitorConfigSchema = withStoreAddress(
  z.object({ ...natsConfig, ...storeConfig, ...runtimeConfig, ...retentionConfig }),
)

export type JanitorConfig = z.output<typeof janitorConfigSchema>
