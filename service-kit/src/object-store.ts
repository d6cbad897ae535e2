import { createReadStream, createWriteStream } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { type Clock, systemClock } from './clock.ts'
import { AppError } from './errors.ts'
import { createPresigner } from './presigner.ts'

export type ObjectStoreOptions = {
  endpoint: string
  /** The host of the links that clients get; by default that of `endpoint`. */
  publicEndpoint?: string | undefined
  bucket: string
  accessKeyId: string
  secretAccessKey: string
  clock?: Clock
  /** A call that moves no byte for this long has failed and is not tried again. */
  stallMs?: number
}

/** Where a link leads: to the store as the services reach it, or as clients and workers elsewhere do. */
export type StoreAddress = 'inner' | 'public'

export type ObjectHead = { bytes: number; sha256: string | undefined }
/** How a client's link is answered: `inline` plays in a browser, `attachment` is saved. */
export type LinkOptions = {
  method?: 'GET' | 'HEAD'
  contentType: string
  disposition: 'inline' | 'attachment'
  fileName: string
}
/** Both times are by the store's own clock. */
export type ListedObject = {
  key: string
  bytes: number
  modifiedAtMs: number
  listedAtMs: number
}

const defaultStallMs = 30_000
/** However slowly it moves, a call ends after this many stall times. */
const longestCallInStalls = 10

/** Tries of one call, the first included. The SDK's own three would be over within a second. */
const tries = 3
const backoffMs = 200
/** After so long it is asked again for an object that it did not find. */
const secondLookMs = 500
/** A Date header counts whole seconds, and answers take time: less than this is no difference. */
const dateMayDifferMs = 5_000
/** How long a reachability check may take. */
const lookMs = 2_000

/** Node's default of 64 KB costs both sides a fifth more processor time. */
const uploadBlockBytes = 2 ** 19

/**
 * A stream that knows where the file ends allocates only what is left of it. Without that, mostly
 * empty blocks cost ingest half of its time in garbage collection.
 */
const readUpTo = (path: string, bytes: number) =>
  createReadStream(path, { highWaterMark: uploadBlockBytes, end: Math.max(0, bytes - 1) })

const nothing = () => undefined
const silentLogger = { debug: nothing, info: nothing, warn: nothing, error: nothing }

/** Objects in one bucket of any S3 server. Unless a method says otherwise, it fails with
 * STORE_UNAVAILABLE. */
export type ObjectStore = ReturnType<typeof createObjectStore>

/**
 * These options work with R2 and SeaweedFS alike: path style, checksums only where required, and a
 * timeout that really ends the request.
 */
export function createObjectStore(options: ObjectStoreOptions) {
  const { bucket, clock = systemClock, stallMs = defaultStallMs } = options
  const client = new S3Client({
    region: 'auto',
    endpoint: options.endpoint,
    // It would log to the console as plain text; what matters is in the error.
    logger: silentLogger,
    forcePathStyle: true,
    // The SDK corrects it by the store's answers from then on.
    systemClockOffset: clock.nowMs() - systemClock.nowMs(),
    credentials: { accessKeyId: options.accessKeyId, secretAccessKey: options.secretAccessKey },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: 3_000,
      socketTimeout: stallMs,
      requestTimeout: longestCallInStalls * stallMs,
      throwOnRequestTimeout: true,
    },
  })
  // The signature covers the host, so a link for another host is another link.
  const presigners = {
    inner: createPresigner({ endpoint: options.endpoint, bucket, client }),
    public: createPresigner({
      endpoint: options.publicEndpoint ?? options.endpoint,
      ...{ bucket, client },
    }),
  }

  /** How far the store's clock is ahead of ours. */
  let storeAheadMs = 0
  client.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args)
      // The SDK types it as unknown, because a handler need not speak HTTP. Ours does.
      const { headers } = result.response as { headers: Record<string, string> }
      const aheadMs = Date.parse(headers['date'] ?? '') - clock.nowMs()
      storeAheadMs = Math.abs(aheadMs) > dateMayDifferMs ? aheadMs : 0
      return result
    },
    // Next to the wire, where a refusal is an answer like any other.
    { step: 'deserialize', priority: 'low' },
  )
  const storeNowMs = () => clock.nowMs() + storeAheadMs
  /** The store refuses a link whose time is minutes off its own. */
  const signingDate = () => new Date(storeNowMs())

  async function retried<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const giveUpAtMs = clock.monotonicMs() + stallMs
    for (let attempt = 1; ; attempt++) {
      try {
        return await call()
      } catch (error) {
        if (isNotFound(error) || isOutOfRange(error)) throw error
        if (attempt === tries || signal?.aborted || clock.monotonicMs() >= giveUpAtMs)
          throw new AppError('STORE_UNAVAILABLE', { cause: error })
        await clock.wait(backoffMs * 2 ** (attempt - 1) * (0.5 + Math.random()), signal)
      }
    }
  }

  /** A store that has just started may not find, for a moment, what it holds. */
  async function lookedForTwice<T>(call: () => Promise<T>): Promise<T | undefined> {
    const found = await orMissing(retried(call))
    if (found !== undefined) return found
    await clock.wait(secondLookMs)
    return orMissing(retried(call))
  }

  /**
   * The answer to a HEAD has no body that tells a missing object from a missing bucket, and a server
   * that has just started may find its bucket a moment late.
   */
  async function requireBucket(): Promise<undefined> {
    await retried(async () => {
      try {
        await client.send(new HeadBucketCommand({ Bucket: bucket }))
      } catch (cause) {
        throw new Error('the bucket does not answer', { cause })
      }
    })
  }

  /** Whether the store answers for our bucket within the time, in one try. */
  async function isReachable(withinMs = lookMs): Promise<boolean> {
    try {
      await client.send(new HeadBucketCommand({ Bucket: bucket }), {
        abortSignal: AbortSignal.timeout(withinMs),
      })
      return true
    } catch {
      return false
    }
  }

  return {
    /** The origin of the links that clients get. */
    publicOrigin: new URL(options.publicEndpoint ?? options.endpoint).origin,

    /**
     * Stores a file. The server refuses it if the SHA-256 (hex) of what arrives differs. `signal` ends
     * all tries together.
     */
    async putFile(
      key: string,
      path: string,
      bytes: number,
      sha256: string,
      signal?: AbortSignal,
    ): Promise<void> {
      const put = () =>
        client.send(
          new PutObjectCommand({
            Bucket: bucket,
            Key: key,
            Body: readUpTo(path, bytes),
            ContentLength: bytes,
            ChecksumSHA256: hexToBase64(sha256),
          }),
          signal ? { abortSignal: signal } : {},
        )
      await retried(put, signal)
    },

    /** An object's length and checksum; undefined when there is no such object. */
    async head(key: string): Promise<ObjectHead | undefined> {
      const command = new HeadObjectCommand({ Bucket: bucket, Key: key, ChecksumMode: 'ENABLED' })
      const found = await lookedForTwice(() => client.send(command))
      if (!found) return requireBucket()
      const checksum = found.ChecksumSHA256
      return {
        bytes: found.ContentLength ?? 0,
        sha256: checksum ? Buffer.from(checksum, 'base64').toString('hex') : undefined,
      }
    },

    /**
     * Copies an object into a file, never more than `maxBytes` of it.
     *
     * @returns the bytes written, one more than `maxBytes` if the object is larger; undefined when
     * there is no such object
     */
    async getFile(key: string, path: string, maxBytes: number): Promise<number | undefined> {
      const command = new GetObjectCommand({
        Bucket: bucket,
        Key: key,
        Range: `bytes=0-${maxBytes}`,
      })
      const copied = lookedForTwice(async () => {
        const found = await client.send(command)
        if (!(found.Body instanceof Readable)) throw new Error('the answer has no body')
        const file = createWriteStream(path)
        await pipeline(found.Body, file)
        return file.bytesWritten
      })
      return copied.catch(async (error) => {
        if (!isOutOfRange(error)) throw error
        await writeFile(path, '')
        return 0
      })
    },

    /** Every object under a prefix. */
    async *list(prefix: string): AsyncGenerator<ListedObject> {
      let token: string | undefined
      do {
        const page = await retried(() =>
          client.send(
            new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: token }),
          ),
        )
        for (const item of page.Contents ?? [])
          if (item.Key)
            yield {
              key: item.Key,
              bytes: item.Size ?? 0,
              modifiedAtMs: item.LastModified?.getTime() ?? 0,
              listedAtMs: storeNowMs(),
            }
        token = page.IsTruncated ? page.NextContinuationToken : undefined
      } while (token)
    },

    /** Deletes one object; deleting a missing one succeeds. `signal` ends all tries together. */
    async delete(key: string, signal?: AbortSignal): Promise<void> {
      const command = new DeleteObjectCommand({ Bucket: bucket, Key: key })
      const sent = signal ? { abortSignal: signal } : {}
      await orMissing(retried(() => client.send(command, sent), signal))
    },

    /** Deletes everything under a prefix and returns what that was. */
    async deletePrefix(prefix: string): Promise<ListedObject[]> {
      const deleted: ListedObject[] = []
      for await (const object of this.list(prefix)) {
        await this.delete(object.key)
        deleted.push(object)
      }
      return deleted
    },

    /** A presigned URL by which a worker reads one object. */
    async presignGet(key: string, ttlSeconds: number, at: StoreAddress = 'inner'): Promise<string> {
      return presigners[at]('GET', key, { ttlSeconds, fromDate: signingDate() })
    },

    /**
     * A link for a client, at the public address. It works for its method alone, because the signature
     * covers the method.
     */
    async presignLink(key: string, ttlSeconds: number, link: LinkOptions): Promise<string> {
      const { method = 'GET', contentType, disposition, fileName } = link
      return presigners.public(method, key, {
        ...{ ttlSeconds, fromDate: signingDate() },
        query: {
          'response-content-type': contentType,
          'response-content-disposition': `${disposition}; filename="${fileName}"`,
        },
      })
    },

    /**
     * A presigned URL that stores exactly this content, once: the type, the length and the SHA-256 (hex)
     * are signed, and `If-None-Match: *` refuses a second write with 412. Send all headers as given.
     */
    async presignPut(
      key: string,
      { bytes, sha256, contentType }: { bytes: number; sha256: string; contentType: string },
      ttlSeconds: number,
      at: StoreAddress = 'inner',
    ) {
      const headers: Record<string, string> = {
        'content-type': contentType,
        'content-length': String(bytes),
        'x-amz-checksum-sha256': hexToBase64(sha256),
        'if-none-match': '*',
      }
      const fromDate = signingDate()
      const url = await presigners[at]('PUT', key, { ttlSeconds, fromDate, headers })
      return { url, headers }
    },

    isReachable,

    /**
     * Creates the bucket if a store that has just started lacks it. One try.
     *
     * @returns whether the store answers for the bucket
     */
    async ensureBucket(): Promise<boolean> {
      if (await isReachable()) return true
      const made = client.send(new CreateBucketCommand({ Bucket: bucket }), {
        abortSignal: AbortSignal.timeout(lookMs),
      })
      return made.then(
        () => isReachable(),
        () => false,
      )
    },

    stop() {
      client.destroy()
    },
  }
}

function hexToBase64(hex: string): string {
  return Buffer.from(hex, 'hex').toString('base64')
}

/** A missing object. A missing bucket says nothing about its objects. */
function isNotFound(error: unknown): boolean {
  return (
    error instanceof S3ServiceException &&
    error.$metadata.httpStatusCode === 404 &&
    error.name !== 'NoSuchBucket'
  )
}

/** An empty object has no first byte, so no range of it can be read. */
function isOutOfRange(error: unknown): boolean {
  return error instanceof S3ServiceException && error.$metadata.httpStatusCode === 416
}

async function orMissing<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
}
