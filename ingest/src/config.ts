import {
  deadlineConfig,
  priceConfig,
  quotaConfig,
  rateConfig,
  serviceLimitConfig,
} from '@avatar/job-kit'
import {
  listed,
  natsConfig,
  program,
  runtimeConfig,
  storeConfig,
  withStoreAddress,
  writableFolder,
} from '@avatar/service-kit'
import { z } from 'zod'

/** How many calls, or tokens. */
const calls = () => z.coerce.number().int().min(1).max(1_000_000)

const network = z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()])

/** Apps in a web view have schemes of their own, such as `capacitor`. */
const originPattern = /^[a-z][a-z\d+.-]*:\/\/[^/?#\s@*A-Z]+$/

/** Ingest's environment. */
export const ingestConfigSchema = withStoreAddress(
  z.object({
    ...natsConfig,
    ...storeConfig,
    ...runtimeConfig,
    ...deadlineConfig,
    ...priceConfig,
    ...rateConfig,
    ...quotaConfig,
    ...serviceLimitConfig,
    HTTP_HOST: z.string().default('127.0.0.1').describe('address of the REST API'),
    HTTP_PORT: z.coerce.number().int().min(0).max(65_535).default(8080).describe('its port'),
    FFMPEG_PATH: program().describe('ffmpeg, as an absolute path'),
    SPOOL_DIR: writableFolder().describe(
      'where uploads wait while they are checked; wiped at start',
    ),
    ALLOWED_ORIGINS: z
      .string()
      .default('')
      .transform(listed)
      .refine((origins) => origins.every((origin) => originPattern.test(origin)), {
        error:
          'must be origins as browsers send them, such as https://app.example: ' +
          'scheme and host in small letters, nothing after them, and no *',
      })
      .describe('origins whose pages may call the API, separated by commas'),
    PUBLIC_PATH_PREFIX: z
      .string()
      .regex(
        /^(\/(?!\.{1,2}(\/|$))[\w.~-]+)*$/,
        'a path such as /avatar: it begins with a slash and does not end with one',
      )
      .default('')
      .describe(
        'path under which a proxy publishes the API, such as /avatar; links begin with it, and requests may',
      ),
    TRUSTED_PROXIES: z
      .string()
      .default('')
      .transform(listed)
      .refine((networks) => networks.every((each) => isNetwork(each)), {
        error:
          'must be addresses or networks such as 10.0.0.0/8 or fd00::/8, separated by commas; ' +
          'a network of all addresses would let every client choose its own',
      })
      .describe(
        'networks of the proxies in front of the API, separated by commas: the client is the last ' +
          'address of X-Forwarded-For that is none of theirs',
      ),
    LIMIT_FAILED_KEYS_PER_MINUTE: calls()
      .default(30)
      .describe('calls of one address a minute that may come without a valid key'),
    LIMIT_FAILED_KEY_BURST: calls().default(30).describe('and at once'),
    TRACE_JOBS_RATIO: z.coerce
      .number()
      .min(0)
      .max(1)
      .default(1)
      .describe('part of the jobs that are traced, 0 to 1; only with a collector'),
    API_DOCS: z.stringbool().default(true).describe('serve /openapi.json and /docs'),
    WEB_PAGE: z
      .stringbool()
      .default(true)
      .describe('serve the page at /, where a job can be made by hand'),
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

function isNetwork(text: string): boolean {
  return network.safeParse(text).success && !text.endsWith('/0')
}
