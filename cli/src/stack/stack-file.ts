import { createObjectStore, type ObjectStore } from '@avatar/service-kit'
import { z } from 'zod'
import { type DataFolder, readIfThere, writePrivately } from './data-folder.ts'

/** The processes of a stack, in the order in which they start. */
export const processNames = ['nats', 's3', 'ingest', 'orchestrator', 'janitor', 'sidecar'] as const
export type ProcessName = (typeof processNames)[number]

const processSchema = z.object({ pid: z.int(), ports: z.record(z.string(), z.int()) })

/** What other tools need to find a running stack; `stack.json` in its data folder. */
export const stackFileSchema = z.object({
  url: z.url(),
  processes: z.record(z.enum(processNames), processSchema),
  s3: z.object({
    endpoint: z.url(),
    bucket: z.string(),
    access_key_id: z.string(),
    secret_access_key: z.string(),
  }),
  nats: z.object({ url: z.url(), monitor: z.url() }),
})
export type StackFile = z.infer<typeof stackFileSchema>

/** A client of the store that a stack file, or whoever was given access, tells of. */
export function storeOf(s3: StackFile['s3']): ObjectStore {
  return createObjectStore({
    endpoint: s3.endpoint,
    bucket: s3.bucket,
    accessKeyId: s3.access_key_id,
    secretAccessKey: s3.secret_access_key,
  })
}

/** The stack file of a data folder, or undefined where none (or none that is whole) lies. */
export async function readStackFile(data: DataFolder): Promise<StackFile | undefined> {
  const text = await readIfThere(data.stackFile)
  if (text === undefined) return undefined
  try {
    return stackFileSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

export async function writeStackFile(data: DataFolder, stack: StackFile) {
  await writePrivately(data.stackFile, `${JSON.stringify(stack, null, 2)}\n`)
}
