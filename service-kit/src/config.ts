import { z } from 'zod'

/** The environment does not make a valid configuration; the message lists everything that is wrong. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** A value that prints `[redacted]` wherever it is printed; `reveal` is the only way to it. */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  reveal(): string {
    return this.#value
  }

  toString(): string {
    return '[redacted]'
  }

  toJSON(): string {
    return '[redacted]'
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[redacted]'
  }
}

/** A secret from the environment. */
export function secret() {
  return z
    .string()
    .min(1)
    .transform((value) => new Secret(value))
}

export const natsConfig = {
  NATS_URL: z.url().describe('NATS server with JetStream, without credentials'),
  NATS_USER: z.string().min(1).describe("this service's NATS user"),
  NATS_PASSWORD: secret().describe('its password'),
}

export const s3Config = {
  S3_ENDPOINT: z.url().optional().describe('S3 server; for R2 give R2_ACCOUNT_ID instead'),
  R2_ACCOUNT_ID: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .optional()
    .describe('Cloudflare account; the endpoint follows from it'),
  R2_ACCESS_KEY_ID: z.string().min(1).describe('access key of the bucket'),
  R2_SECRET_ACCESS_KEY: secret().describe('its secret'),
  R2_BUCKET_NAME: z.string().min(3).describe('bucket of inputs and outputs'),
}

export const runtimeConfig = {
  LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('least level that is logged'),
  METRICS_HOST: z.string().default('127.0.0.1').describe('address of /metrics and /healthz'),
  METRICS_PORT: z.coerce
    .number()
    .int()
    .min(0)
    .max(65_535)
    .describe('port of /metrics and /healthz; 0 takes a free one'),
  TIMINGS_DIVISOR: z.coerce
    .number()
    .min(1)
    .max(1000)
    .default(1)
    .describe('makes every wait and back-off so many times shorter; for tests'),
}

/** How long media live after a job has ended. */
export const retentionConfig = {
  VIDEO_RETENTION_HOURS: z.coerce
    .number()
    .positive()
    .max(24 * 7)
    .default(6)
    .describe('media are deleted this long after the end of their job; decimals allowed'),
}

/**
 * Parses the environment once, at start-up, and reports every mistake at the same time. An empty
 * value counts as not given, as it does in an env file.
 *
 * @throws ConfigError with one line for each mistake
 */
export function loadConfig<S extends z.ZodObject>(
  schema: S,
  env: Record<string, string | undefined>,
): Readonly<z.output<S>> {
  const given = Object.entries(env).filter(([, value]) => value !== undefined && value !== '')
  const parsed = schema.safeParse(Object.fromEntries(given))
  if (!parsed.success) throw new ConfigError(z.prettifyError(parsed.error))
  return Object.freeze(parsed.data)
}
