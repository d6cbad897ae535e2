import { deadlineConfig } from '@avatar/job-kit'
import { natsConfig, runtimeConfig, storeConfig, withStoreAddress } from '@avatar/service-kit'
import { z } from 'zod'

/** Ingest's environment. */
export const ingestConfigSchema = withStoreAddress(
  z.object({
    ...natsConfig,
    ...storeConfig,
    ...runtimeConfig,
    ...deadlineConfig,
    HTTP_HOST: z.string().default('127.0.0.1').describe('address of the REST API'),
    HTTP_PORT: z.coerce.number().int().min(0).max(65_535).default(8080).describe('its port'),
    FFMPEG_PATH: z.string().min(1).describe('ffmpeg, as an absolute path'),
    SPOOL_DIR: z
      .string()
      .min(1)
      .describe('where uploads wait while they are checked; wiped at start'),
    ALLOWED_ORIGINS: z
      .string()
      .default('')
      .transform((list) =>
        list
          .split(',')
          .map((origin) => origin.trim())
          .filter(Boolean),
      )
      .describe('origins whose pages may call the API, separated by commas'),
    API_DOCS: z.stringbool().default(true).describe('serve /openapi.json and /docs'),
    MEDIA_CHECK_CONCURRENCY: z.coerce
      .number()
      .int()
      .min(1)
      .max(64)
      .default(2)
      .describe('media checked at the same time'),
    RESULT_URL_TTL_SECONDS: z.coerce
      .number()
      .int()
      .min(10)
      .max(86_400)
      .default(900)
      .describe('how long the link of one /result answer works'),
  }),
)

export type IngestConfig = z.output<typeof ingestConfigSchema>
