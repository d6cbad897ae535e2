import { readFileSync } from 'node:fs'
import { z } from 'zod'

/** The environment is not a valid configuration; the message lists every mistake. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** A value that prints `[redacted]` wherever it is printed. Only `reveal` gives it. */
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

/** A secret setting. `NAME_FILE` may name a mounted file that holds it. */
export function secret() {
  return z
    .string()
    .min(1)
    .transform((value) => new Secret(value))
    .meta({ isSecret: true })
}

/** Whether a setting was made by `secret`. */
export function isSecret(setting: z.ZodType): boolean {
  return setting.meta()?.['isSecret'] === true
}

export const natsConfig = {
  NATS_URL: z.url().describe('NATS server with JetStream, without credentials'),
  NATS_USER: z.string().min(1).describe("this service's NATS user"),
  NATS_PASSWORD: secret().describe('its password'),
}

export const storeConfig = {
  S3_ENDPOINT: z
    .url()
    .optional()
    .describe('S3 server as the services reach it; for R2 give R2_ACCOUNT_ID instead'),
  S3_PUBLIC_ENDPOINT: z
    .url()
    .optional()
    .describe(
      'the same server as clients reach it, for the links that they get; by default S3_ENDPOINT',
    ),
  R2_ACCOUNT_ID: z
    .string()
    .regex(/^[0-9a-f]{32}$/, 'must be 32 hexadecimal digits')
    .optional()
    .describe('Cloudflare account; the endpoint follows from it'),
  R2_ACCESS_KEY_ID: z.string().min(1).describe('access key of the bucket'),
  R2_SECRET_ACCESS_KEY: secret().describe('its secret'),
  R2_BUCKET_NAME: z.string().min(3).describe('bucket of inputs and outputs'),
}

/** Adds the rule that a store has an address, reported together with every other mistake. */
export function withStoreAddress<S extends z.ZodObject<typeof storeConfig>>(schema: S): S {
  return schema.refine(
    ({ S3_ENDPOINT, R2_ACCOUNT_ID }) => S3_ENDPOINT !== undefined || R2_ACCOUNT_ID !== undefined,
    { path: ['S3_ENDPOINT'], error: 'give S3_ENDPOINT or R2_ACCOUNT_ID', when: () => true },
  )
}

export const runtimeConfig = {
  LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('lowest level that is logged'),
  METRICS_HOST: z.string().default('127.0.0.1').describe('address of /metrics, /livez and /readyz'),
  METRICS_PORT: z.coerce
    .number()
    .int()
    .min(0)
    .max(65_535)
    .describe('port of /metrics, /livez and /readyz; 0 takes a free one'),
  TIMINGS_DIVISOR: z.coerce
    .number()
    .min(1)
    .max(1000)
    .default(1)
    .describe('divides every wait and backoff; for tests'),
}

/**
 * Parses the environment once, at start-up, and reports every mistake at the same time. An empty
 * value counts as not given, as it does in an env file. A secret `NAME` may come from the file that
 * `NAME_FILE` names, without its trailing newline.
 *
 * @throws ConfigError with one line for each mistake
 */
export function loadConfig<S extends z.ZodObject>(
  schema: S,
  env: Readonly<Record<string, string | undefined>>,
): Readonly<z.output<S>> {
  const given: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) if (value) given[name] = value
  const mistakes: string[] = []
  for (const [name, setting] of Object.entries<z.ZodType>(schema.shape)) {
    const path = given[`${name}_FILE`]
    if (path === undefined || !isSecret(setting)) continue
    if (given[name] !== undefined) mistakes.push(`✖ give ${name} or ${name}_FILE, not both`)
    try {
      given[name] = readFileSync(path, 'utf8').replace(/\r?\n$/, '')
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? ` (${error.code})` : ''
      mistakes.push(`✖ ${name}_FILE names ${path}, which cannot be read${code}`)
      given[name] = 'unreadable' // Else it would be reported as missing too.
    }
  }
  const parsed = schema.safeParse(given)
  if (!parsed.success) mistakes.push(z.prettifyError(parsed.error))
  if (!parsed.success || mistakes.length > 0) throw new ConfigError(mistakes.join('\n'))
  return Object.freeze(parsed.data)
}
