import {
  DeleteObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'

/** The store as the owner of the bucket's keys sees it. */
export type Store = ReturnType<typeof openStore>

export function openStore(options: {
  endpoint: string
  bucket: string
  access_key_id: string
  secret_access_key: string
}) {
  const client = new S3Client({
    region: 'auto',
    endpoint: options.endpoint,
    forcePathStyle: true,
    credentials: {
      accessKeyId: options.access_key_id,
      secretAccessKey: options.secret_access_key,
    },
    maxAttempts: 10,
  })
  return {
    /** The keys of all objects under a prefix. */
    async keys(prefix: string): Promise<string[]> {
      const keys: string[] = []
      let token: string | undefined
      do {
        const page = await client.send(
          new ListObjectsV2Command({
            Bucket: options.bucket,
            Prefix: prefix,
            ContinuationToken: token,
          }),
        )
        for (const { Key } of page.Contents ?? []) if (Key) keys.push(Key)
        token = page.IsTruncated ? page.NextContinuationToken : undefined
      } while (token)
      return keys
    },
    async put(key: string, body: string) {
      await client.send(new PutObjectCommand({ Bucket: options.bucket, Key: key, Body: body }))
    },
    async delete(key: string) {
      await client.send(new DeleteObjectCommand({ Bucket: options.bucket, Key: key }))
    },
    close: () => client.destroy(),
  }
}
