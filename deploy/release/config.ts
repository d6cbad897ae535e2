import { readFileSync } from 'node:fs'
import { z } from 'zod'

/** `environments/ENV.json`: where an environment is, and what runs there. It holds no secret. */
export const environmentSchema = z.strictObject({
  platform: z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('compose'),
      settings: z.string().startsWith('/'),
      backups: z.string().startsWith('/'),
    }),
    z.strictObject({
      kind: z.literal('kubernetes'),
      overlay: z.enum(['preview', 'keda', 'runpod']),
      context: z.string().optional(),
    }),
  ]),
  /** Which workers the platform itself runs. */
  workers: z.enum(['preview', 'gpu', 'none']),
  runpodEndpoint: z.string().optional(),
  /** The API, as clients reach it. */
  url: z.url(),
  /** Whose signature the images must have: an expression for the identity of a workflow. Null takes any image. */
  signedBy: z.string().nullable(),
})
export type Environment = z.infer<typeof environmentSchema>

const secretsSchema = z.object({
  RUNPOD_API_KEY: z.string().min(1).optional(),
  RUNPOD_API_KEY_FILE: z.string().min(1).optional(),
  /** Another RunPod, for tests. */
  RUNPOD_API: z.url().optional(),
})

/** What a run is told beside its files. @throws where a file of a secret cannot be read */
export function readConfig(env: Readonly<Record<string, string | undefined>>) {
  const { RUNPOD_API_KEY, RUNPOD_API_KEY_FILE, RUNPOD_API } = secretsSchema.parse(env)
  const runpodApiKey =
    RUNPOD_API_KEY ??
    (RUNPOD_API_KEY_FILE === undefined
      ? undefined
      : readFileSync(RUNPOD_API_KEY_FILE, 'utf8').trimEnd())
  return { runpodApiKey, runpodApi: RUNPOD_API }
}
