import { randomBytes } from 'node:crypto'
import { publisherNameSchema, recordOf, serviceUsers } from '@avatar/contracts'
import { z } from 'zod'
import { type DataFolder, readIfThere, writePrivately } from './data-folder.ts'

const s3IdentitySchema = z.object({ accessKeyId: z.string(), secretAccessKey: z.string() })

const publisherSchema = z.object({ natsPassword: z.string(), s3: s3IdentitySchema })
export type Publisher = z.infer<typeof publisherSchema>

const credentialsSchema = z.object({
  nats: z.record(z.enum(serviceUsers), z.string()),
  /** Of the user that reloads the broker. Folders of an earlier version have none. */
  natsReload: z.string().default(randomSecret),
  /** By which the brokers of a cluster let each other in. Folders of an earlier version have none. */
  natsRoutes: z.string().default(randomSecret),
  s3: s3IdentitySchema,
  publishers: z.record(publisherNameSchema, publisherSchema),
})
export type Credentials = z.infer<typeof credentialsSchema>

/** The stack's credentials: generated at the first start, later read from the data folder. */
export async function ensureCredentials(data: DataFolder): Promise<Credentials> {
  const text = await readIfThere(data.credentialsFile)
  if (text !== undefined) {
    const found: unknown = JSON.parse(text)
    const credentials = credentialsSchema.parse(found)
    // What this version has added is kept, too.
    if (JSON.stringify(found) !== JSON.stringify(credentials))
      await saveCredentials(data, credentials)
    return credentials
  }
  const credentials: Credentials = {
    nats: recordOf(serviceUsers, randomSecret),
    natsReload: randomSecret(),
    natsRoutes: randomSecret(),
    s3: generateS3Identity('avatar'),
    publishers: {},
  }
  await saveCredentials(data, credentials)
  return credentials
}

export async function saveCredentials(data: DataFolder, credentials: Credentials) {
  await writePrivately(data.credentialsFile, `${JSON.stringify(credentials, null, 2)}\n`)
}

export function generatePublisher(name: string): Publisher {
  return { natsPassword: randomSecret(), s3: generateS3Identity(name) }
}

function generateS3Identity(prefix: string) {
  return {
    accessKeyId: `${prefix}-${randomBytes(8).toString('hex')}`,
    secretAccessKey: randomSecret(),
  }
}

/** 240 random bits that need no escaping in URLs, files or shells. */
function randomSecret(): string {
  return randomBytes(30).toString('base64url').replaceAll(/[-_]/g, 'x')
}
