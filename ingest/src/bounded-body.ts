import type { IncomingMessage } from 'node:http'
import { finished } from 'node:stream/promises'
import { AppError } from '@avatar/service-kit'

/** What a body must keep to. */
export type BodyBounds = {
  /** How much is read at most. */
  maxBytes: number
  /**
   * The limit that a refusal names. It may be smaller: a client that sends a little too much still gets
   * to read the answer.
   */
  allowedMaxBytes: number
  /** How long no byte may arrive. */
  idleMs: number
  /** How long the whole body may take. */
  totalMs: number
}

/**
 * Watches a body while something else reads it. Neither Fastify nor the multipart library bounds a
 * whole multipart body, and a chunked one announces no length. Neither notices a client that hung up
 * before they began to read.
 */
export function boundBody(raw: IncomingMessage, bounds: BodyBounds) {
  const { maxBytes, allowedMaxBytes, idleMs, totalMs } = bounds
  let bytes = 0
  const abort = new AbortController()
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => undefined) // It may reject before anybody awaits it.

  const late = (problem: string, ms: number) => () =>
    fail(new AppError('REQUEST_TIMEOUT', { details: { problem, limit_seconds: ms / 1000 } }))
  const idle = setTimeout(late('no byte of the body arrived', idleMs), idleMs)
  const total = setTimeout(late('the body took too long', totalMs), totalMs)
  function stop() {
    clearTimeout(idle)
    clearTimeout(total)
    raw.off('data', count).off('end', stop).off('close', onClose)
  }
  function fail(error: AppError) {
    stop()
    raw.unpipe()
    raw.pause()
    abort.abort(error)
    failed.reject(error)
  }
  function count(chunk: Buffer) {
    bytes += chunk.length
    idle.refresh()
    if (bytes > maxBytes)
      fail(new AppError('BODY_TOO_LARGE', { details: { max_bytes: allowedMaxBytes } }))
  }
  function onClose() {
    if (raw.readableEnded) stop()
    else fail(new AppError('CLIENT_GONE'))
  }
  if (raw.destroyed) onClose()
  else raw.on('data', count).on('end', stop).on('close', onClose)

  return {
    /** Bytes received so far. */
    bytes: () => bytes,
    /** Aborts when the body has failed; after that nothing is read. */
    signal: abort.signal,
    /**
     * Rejects when the body fails, and never resolves: BODY_TOO_LARGE or REQUEST_TIMEOUT past a bound,
     * CLIENT_GONE when the client hung up.
     */
    failed: failed.promise,
    /** Reads and discards the rest, within the bounds, so that the client gets to read the answer. */
    async drain(): Promise<void> {
      if (abort.signal.aborted || raw.readableEnded || raw.destroyed) return
      raw.unpipe()
      raw.resume()
      await Promise.race([finished(raw, { writable: false }), failed.promise]).catch(
        () => undefined,
      )
    },
  }
}
