import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import {
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { jetstream } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { z } from 'zod'

const run = promisify(execFile)
const example = resolve(import.meta.dirname, '../../examples/publisher.ts')

/** The part of what `avatar publishers create` prints that is used here. */
const credentialsSchema = z.object({
  nats: z.object({ url: z.url(), user: z.string(), password: z.string() }),
  s3: z.object({
    endpoint: z.url(),
    bucket: z.string(),
    access_key_id: z.string(),
    secret_access_key: z.string(),
  }),
})

/** Another service, which has nothing but its own credentials. */
export function openPublisher(printed: string) {
  const { nats, s3 } = credentialsSchema.parse(JSON.parse(printed))
  const client = new S3Client({
    region: 'auto',
    endpoint: s3.endpoint,
    forcePathStyle: true,
    credentials: { accessKeyId: s3.access_key_id, secretAccessKey: s3.secret_access_key },
  })

  /** The HTTP status of the store's answer. */
  async function statusOf(call: Promise<{ $metadata: { httpStatusCode?: number } }>) {
    try {
      return (await call).$metadata.httpStatusCode
    } catch (error) {
      if (error instanceof S3ServiceException) return error.$metadata.httpStatusCode
      throw error
    }
  }

  const address = { Bucket: s3.bucket }
  return {
    get: (Key: string) => statusOf(client.send(new GetObjectCommand({ ...address, Key }))),
    put: (Key: string) =>
      statusOf(client.send(new PutObjectCommand({ ...address, Key, Body: 'x' }))),
    list: (Prefix: string) =>
      statusOf(client.send(new ListObjectsV2Command({ ...address, Prefix }))),

    /** The broker's error for a publish or a subscription; undefined when it allows it. */
    async errorOf(to: { publish?: string; subscribe?: string }): Promise<string | undefined> {
      // With the inbox that clients use by default.
      const connection = await connect({ servers: nats.url, user: nats.user, pass: nats.password })
      try {
        if (to.publish) await jetstream(connection).publish(to.publish, '{}')
        if (to.subscribe) {
          const refused = Promise.withResolvers<string | undefined>()
          connection.subscribe(to.subscribe, { callback: (e) => refused.resolve(e?.message) })
          await connection.flush()
          await connection.flush()
          refused.resolve(undefined)
          return await refused.promise
        }
        return undefined
      } catch (error) {
        return String(error)
      } finally {
        await connection.close()
      }
    },
    close: () => client.destroy(),
  }
}

/** Runs the example publisher as a user would. */
export function runExamplePublisher(options: Record<string, string>) {
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])
  return run(process.execPath, [example, ...args])
}
