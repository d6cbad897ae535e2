import { poolSchema, providers } from '@avatar/contracts'
import { secret } from '@avatar/service-kit'
import { z } from 'zod'

const count = (most: number) => z.coerce.number().int().min(0).max(most)
const seconds = (most: number) => z.coerce.number().min(0).max(most)
const httpUrl = z
  .url({ protocol: /^https?$/, error: 'must be a URL such as https://api.example/v2' })
  .regex(/^[^?#]*[^/?#]$/, 'must have no query, and end without a slash')

/** What starts GPU workers, and how many of them. */
export const scaleConfig = {
  SCALE_PROVIDER: z
    .enum(providers)
    .default('none')
    .describe('what starts GPU workers; none: whoever operates the system'),
  SCALE_POOL: poolSchema
    .default('local')
    .describe('the pool of these workers: their WORKER_POOL, which names their price too'),
  SCALE_MIN_WORKERS: count(100)
    .default(0)
    .describe('as many stay, whether there are jobs or not; they cost around the clock'),
  SCALE_MAX_WORKERS: count(100).default(5).describe('never more at the same time'),
  SCALE_TARGET_WAIT_SECONDS: seconds(86_400)
    .default(300)
    .describe('how long jobs may wait behind others before one more worker is started'),
  SCALE_COLD_START_SECONDS: seconds(3_600)
    .default(90)
    .describe('how long a worker takes to start, until it was learned'),
  SCALE_IDLE_SECONDS: seconds(86_400)
    .default(30)
    .describe('a worker leaves when it had no job for so long'),
  SCALE_LIFETIME_SECONDS: z.coerce
    .number()
    .min(900)
    .max(604_800)
    .default(21_600)
    .describe('and takes no job that would not end within so long of its start'),
  RUNPOD_ENDPOINT_ID: z
    .string()
    .regex(/^[A-Za-z0-9-]{1,64}$/, 'must be letters, digits and hyphens')
    .optional()
    .describe('the endpoint of RunPod Serverless that runs the workers'),
  RUNPOD_API_KEY: secret()
    .optional()
    .meta({ isSecret: true })
    .describe('a key that may ring and change this endpoint'),
  RUNPOD_GPU_POOLS: z
    .string()
    .regex(/^[A-Z0-9_]+(,[A-Z0-9_]+)*$/, 'must be names such as ADA_48_PRO,AMPERE_48')
    .optional()
    .describe(
      'kinds of GPU, the preferred one first; the others are asked for while it is not to be had. ' +
        'Without it the kinds of the endpoint are left alone',
    ),
  RUNPOD_API_URL: httpUrl
    .default('https://api.runpod.io/v2')
    .describe('the API by which the endpoint is looked at and changed'),
  RUNPOD_JOB_API_URL: httpUrl
    .default('https://api.runpod.ai/v2')
    .describe('the API that takes doorbells'),
}

type ScaleConfig = z.output<z.ZodObject<typeof scaleConfig>>

/** Adds the rules between these settings, reported together with every other mistake. */
export function withProvider<S extends z.ZodObject<typeof scaleConfig>>(schema: S): S {
  return schema.superRefine((config, context) => {
    // The object has more settings than these; zod types it by all of them.
    const given = config as ScaleConfig
    const complain = (name: keyof ScaleConfig, message: string) =>
      context.addIssue({ code: 'custom', path: [name], message })
    if (given.SCALE_MIN_WORKERS > given.SCALE_MAX_WORKERS)
      complain('SCALE_MIN_WORKERS', 'must be at most SCALE_MAX_WORKERS')
    if (given.SCALE_PROVIDER !== 'runpod') return
    for (const name of ['RUNPOD_ENDPOINT_ID', 'RUNPOD_API_KEY'] as const)
      if (given[name] === undefined) complain(name, 'must be given for SCALE_PROVIDER=runpod')
  })
}
