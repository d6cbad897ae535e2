import type { ObjectStore } from '@avatar/service-kit'

/**
 * Presigned URLs for workers. A link carries the host that it was signed for, so each pool gets the address
 * at which its workers reach the store. A worker of an earlier version names no pool, and is local.
 */
export function createWorkerLinks(deps: {
  objects: Pick<ObjectStore, 'presignGet' | 'presignPut'>
  urlTtlSeconds: number
  localPools: readonly string[]
}) {
  const { objects, urlTtlSeconds, localPools } = deps
  const addressFor = (pool: string | undefined) =>
    pool === undefined || localPools.includes(pool) ? 'inner' : 'public'
  return {
    /** Reads one object. */
    toRead: (key: string, pool: string | undefined) =>
      objects.presignGet(key, urlTtlSeconds, addressFor(pool)),
    /** Stores exactly this content, once. */
    toStore: (
      key: string,
      content: { bytes: number; sha256: string; contentType: string },
      pool: string | undefined,
    ) => objects.presignPut(key, content, urlTtlSeconds, addressFor(pool)),
  }
}

export type WorkerLinks = ReturnType<typeof createWorkerLinks>
