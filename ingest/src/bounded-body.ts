import type { IncomingMessage } from 'node:http'
import { finished } from 'node:stream/promises'
import { AppError } from '@avatar/service-kit'

/**
 * Counts a body while something else reads it, because neither Fastify nor the multipart library
 * bounds a whole multipart body, and a chunked one announces no length.
 *
 * @param maxBytes how much is read at most
 * @param allowedMaxBytes the limit that a refusal names. It may be smaller: a client that sends a
 * little too much still gets to read the answer.
 */
export function boundBody(raw: IncomingMessage, maxBytes: number, allowedMaxBytes: number) {
  let bytes = 0
  const abort = new AbortController()
  const exceeded = Promise.withResolvers<never>()
  exceeded.promise.catch(() => undefined) // It may reject before anybody awaits it.
  raw.on('data', function count(chunk: Buffer) {
    bytes += chunk.length
    if (bytes <= maxBytes) return
    raw.off('data', count)
    raw.unpipe()
    raw.pause()
    const error = new AppError('BODY_TOO_LARGE', { details: { max_bytes: allowedMaxBytes } })
    abort.abort(error)
    exceeded.reject(error)
  })

  return {
    /** Bytes received so far. */
    bytes: () => bytes,
    /** Aborts when the bound is passed; after that nothing is read. */
    signal: abort.signal,
    /** Rejects with BODY_TOO_LARGE when the bound is passed; never resolves. */
    exceeded: exceeded.promise,
    /** Reads and discards the rest, within the bound, so that the client gets to read the answer. */
    async drain(): Promise<void> {
      if (abort.signal.aborted || raw.readableEnded || raw.destroyed) return
      raw.unpipe()
      raw.resume()
      // The server's request timeout ends a client that stalls here.
      await Promise.race([finished(raw, { writable: false }), exceeded.promise]).catch(
        () => undefined,
      )
    },
  }
}
