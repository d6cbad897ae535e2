import type { IncomingMessage } from 'node:http'
import { finished } from 'node:stream/promises'
import { AppError } from '@avatar/service-kit'

/** The body of a request, read so far and no further. */
export type BoundedBody = {
  /** Bytes that arrived until now. */
  bytes(): number
  /** Aborts when the bound is passed; nothing more is read then. */
  signal: AbortSignal
  /** Rejects with BODY_TOO_LARGE when the bound is passed; never resolves. */
  exceeded: Promise<never>
  /** Reads and forgets what is left, within the bound, so that the client reads its answer. */
  drain(): Promise<void>
}

/**
 * Counts a body while something else reads it. Neither Fastify nor the multipart library bounds the
 * whole of a multipart body, and a chunked one announces no length. More than the caller is told to
 * send may be read, so that he gets to read the answer.
 */
export function boundBody(
  raw: IncomingMessage,
  maxBytes: number,
  toldMaxBytes = maxBytes,
): BoundedBody {
  let bytes = 0
  const abort = new AbortController()
  const exceeded = Promise.withResolvers<never>()
  exceeded.promise.catch(() => undefined) // Whoever waits for it races it; nobody may.
  raw.on('data', function count(chunk: Buffer) {
    bytes += chunk.length
    if (bytes <= maxBytes) return
    raw.off('data', count)
    raw.unpipe()
    raw.pause()
    const error = new AppError('BODY_TOO_LARGE', { details: { max_bytes: toldMaxBytes } })
    abort.abort(error)
    exceeded.reject(error)
  })

  return {
    bytes: () => bytes,
    signal: abort.signal,
    exceeded: exceeded.promise,
    async drain() {
      if (abort.signal.aborted || raw.readableEnded || raw.destroyed) return
      raw.unpipe()
      raw.resume()
      // A client that stalls here is ended by the server's request time-out.
      await Promise.race([finished(raw, { writable: false }), exceeded.promise]).catch(
        () => undefined,
      )
    },
  }
}
