import { processNames } from '@avatar/contracts'
import { createObjectStore, type ObjectStore } from '@avatar/service-kit'
import { z } from 'zod'
import { type DataFolder, readJsonIfThere, writePrivately } from './data-folder.ts'

const processSchema = z.object({
  pid: z.int(),
  ports: z.record(z.string(), z.int()),
  /** How it ended and when it starts again, while it does not run. */
  trouble: z.string().optional(),
})

/** Schema of `stack.json` in the data folder: what other tools need to find a running stack. */
export const stackFileSchema = z.object({
  url: z.url(),
  processes: z.record(z.enum(processNames), processSchema),
  /** The further processes of a service that `--replicas` asks for, such as `ingest-2`. */
  replicas: z.record(z.string(), processSchema),
  /** Where Prometheus and the others of `--observe` are, such as `http://127.0.0.1:9090`. */
  observers: z.record(z.string(), z.url()).default({}),
  s3: z.object({
    endpoint: z.url(),
    bucket: z.string(),
    access_key_id: z.string(),
    secret_access_key: z.string(),
  }),
  nats: z.object({ url: z.url(), monitor: z.url() }),
})
export type StackFile = z.infer<typeof stackFileSchema>

/** A client of the store, by the access that a stack file or `publishers create` gives. */
export function storeOf(s3: StackFile['s3']): ObjectStore {
  return createObjectStore({
    endpoint: s3.endpoint,
    bucket: s3.bucket,
    accessKeyId: s3.access_key_id,
    secretAccessKey: s3.secret_access_key,
  })
}

/** The stack file of a data folder, or undefined when it is missing or incomplete. */
export async function readStackFile(data: DataFolder): Promise<StackFile | undefined> {
  return readJsonIfThere(data.stackFile, stackFileSchema)
}

export async function writeStackFile(data: DataFolder, stack: StackFile) {
  await writePrivately(data.stackFile, `${JSON.stringify(stack, null, 2)}\n`)
}
