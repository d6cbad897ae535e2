import { AppError } from '@avatar/service-kit'
import type { FastifyReply } from 'fastify'

/** Aborts with CLIENT_GONE when the client hangs up before it has its whole answer. */
export function hangUpSignal({ raw }: FastifyReply): AbortSignal {
  const abort = new AbortController()
  const onClose = () => {
    if (!raw.writableFinished) abort.abort(new AppError('CLIENT_GONE'))
  }
  if (raw.destroyed) onClose()
  else raw.once('close', onClose)
  return abort.signal
}
