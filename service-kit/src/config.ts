import { accessSync, constants, mkdirSync, readFileSync } from 'node:fs'
import { z } from 'zod'
import { hideValue } from './scrub.ts'

/** The exit code of a service that refuses its configuration: another start would end the same. */
export const refusedConfigExitCode = 2

/** The environment is not a valid configuration; the message lists every mistake. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/**
 * A value that prints `[redacted]` wherever it is printed. Only `reveal` gives it, and what was revealed is
 * hidden in every line and in whatever else is scrubbed.
 */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
    hideValue(value)
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

/** The secret in a mounted file, without its trailing newline. @throws the system's error */
export function readSecretFile(path: string): string {
  return readFileSync(path, 'utf8').replace(/\r?\n$/, '')
}

/** Whether a setting was made by `secret`. */
export function isSecret(setting: z.ZodType): boolean {
  return setting.meta()?.['isSecret'] === true
}

/** A program that must be there, as a path. */
export function program() {
  return z
    .string()
    .min(1)
    .superRefine((path, context) => {
      const reason = failureOf(() => accessSync(path, constants.X_OK))
      if (reason) context.addIssue(`${path} cannot be run: ${reason}`)
    })
}

/** A folder to write in; it is made if it is missing. */
export function writableFolder() {
  return z
    .string()
    .min(1)
    .superRefine((path, context) => {
      const reason = failureOf(() => {
        mkdirSync(path, { recursive: true })
        accessSync(path, constants.W_OK)
      })
      if (reason) context.addIssue(`${path} cannot be written: ${reason}`)
    })
}

function isPercentEncoded(text: string): boolean {
  return failureOf(() => decodeURIComponent(text)) === undefined
}

/** The code of the system's error that the call throws; undefined when it succeeds. */
function failureOf(call: () => void): string | undefined {
  try {
    call()
    return undefined
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
}

/** The words of a setting that lists them, separated by commas. */
export function listed(text: string): string[] {
  return text
    .split(',')
    .map((each) => each.trim())
    .filter(Boolean)
}

export const natsConfig = {
  NATS_URL: z
    .url({ protocol: /^(nats|tls|wss?)$/, error: 'must be a URL such as nats://host:4222' })
    .describe('NATS server with JetStream, without credentials'),
  NATS_USER: z.string().min(1).describe("this service's NATS user"),
  NATS_PASSWORD: secret().describe('its password'),
}

export const storeConfig = {
  S3_ENDPOINT: z
    .url({ protocol: /^https?$/, error: 'must be a URL such as https://host:8333' })
    .optional()
    .describe('S3 server as the services reach it; for R2 give R2_ACCOUNT_ID instead'),
  S3_PUBLIC_ENDPOINT: z
    .url({ protocol: /^https?$/, error: 'must be a URL such as https://media.example' })
    .regex(/^[^?#]*$/, 'must have neither a query nor a fragment')
    .optional()
    .describe(
      'the same server as clients and workers elsewhere reach it, for the links that they get; by default S3_ENDPOINT',
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
    .default(9464)
    .describe('port of /metrics, /livez and /readyz; 0 takes a free one'),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .url({ protocol: /^https?$/, error: 'must be a URL such as http://host:4318' })
    .optional()
    .describe('base URL of the collector that takes traces as OTLP over HTTP; without it, none'),
  OTEL_EXPORTER_OTLP_HEADERS: secret()
    .refine((headers) => isPercentEncoded(headers.reveal()), 'must be percent-encoded')
    .optional()
    .meta({ isSecret: true })
    .describe('what that collector wants to see, such as authorization=Bearer%20TOKEN'),
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
      given[name] = readSecretFile(path)
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
