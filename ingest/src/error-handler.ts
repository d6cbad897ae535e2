import { maxHeaderSize } from 'node:http'
import type { Socket } from 'node:net'
import { type ErrorEnvelope, type FailureCode, failures } from '@avatar/contracts'
import { AppError, asAppError, type Log, logFailure } from '@avatar/service-kit'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** Seconds a client is asked to wait before it repeats a retryable request. */
export const retryAfterSeconds = 2

/** The codes that Fastify and its plugins throw at a request, as ours. Any other error is our bug. */
const codeOf: Readonly<Record<string, FailureCode>> = {
  FST_FILES_LIMIT: 'INVALID_REQUEST',
  FST_FIELDS_LIMIT: 'INVALID_REQUEST',
  FST_PARTS_LIMIT: 'INVALID_REQUEST',
  FST_PROTO_VIOLATION: 'INVALID_REQUEST',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_VALIDATION: 'INVALID_REQUEST',
  FST_ERR_BAD_URL: 'MALFORMED_REQUEST',
  FST_ERR_MAX_PARAM_LENGTH: 'URL_TOO_LONG',
}

/** The envelope of every failure. */
function failureEnvelope(error: AppError, requestId: string): ErrorEnvelope {
  // For a failure that is not the caller's, the caller learns the table's sentence and nothing else.
  const isCallers = failures[error.code].httpStatus < 500
  return {
    error: {
      code: error.code,
      message: isCallers ? error.message : failures[error.code].summary,
      details: isCallers ? { ...error.details } : {},
    },
    meta: { request_id: requestId },
  }
}

/** Sets the handlers of a Fastify instance: thrown errors and unknown routes. */
export function useErrorHandler(app: FastifyInstance) {
  app.setErrorHandler((error, request, reply) => sendFailure(translate(error), request, reply))
  app.setNotFoundHandler((request, reply) =>
    sendFailure(new AppError('ROUTE_NOT_FOUND'), request, reply),
  )
}

/** Answers a request with a failure. URLs that the router itself refuses come here too. */
export function sendFailure(error: AppError, request: FastifyRequest, reply: FastifyReply) {
  const { httpStatus, outcome } = failures[error.code]
  const isRefused = failures[error.code].blame === 'caller'
  // The logger is the service's own, of which Fastify's type shows a part.
  logFailure(request.log as Log, error, isRefused ? 'request refused' : 'request failed')
  if (outcome === 'retry') reply.header('retry-after', retryAfterSeconds)
  if (error.code === 'UNAUTHORIZED') reply.header('www-authenticate', 'Bearer')
  return reply.code(httpStatus).send(failureEnvelope(error, request.id))
}

/** Answers on the bare socket what is not valid HTTP, or does not arrive in time. */
export function answerMalformed(
  error: Error & { code?: string; rawPacket?: Buffer },
  socket: Socket,
) {
  if (error.code === 'ECONNRESET' || !socket.writable) return
  const code = isLongUrl(error) ? 'URL_TOO_LONG' : 'MALFORMED_REQUEST'
  const { httpStatus } = failures[code]
  const body = JSON.stringify(failureEnvelope(new AppError(code), 'none'))
  socket.end(
    `HTTP/1.1 ${httpStatus} ${code}\r\ncontent-type: application/json; charset=utf-8\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

/** Node reports long URLs and long headers alike. With long headers, the URL's line ends within the bound. */
function isLongUrl({ code, rawPacket }: { code?: string; rawPacket?: Buffer }): boolean {
  const lineBytes = rawPacket?.indexOf('\n') ?? -1
  return code === 'HPE_HEADER_OVERFLOW' && (lineBytes < 0 || lineBytes >= maxHeaderSize)
}

/** Translates an error of Fastify or a plugin, once, where it enters. */
export function translate(error: unknown): AppError {
  if (error instanceof AppError || !(error instanceof Error)) return asAppError(error)
  const { code = '', validation }: Partial<FastifyError> = error
  const known = codeOf[code] ?? (isMultipartFault(error) ? 'MALFORMED_MULTIPART' : undefined)
  if (!known) return asAppError(error)
  const [issue] = validation ?? []
  const details = issue ? { field: issue.instancePath?.slice(1), problem: issue.message } : {}
  return new AppError(known, { cause: error, details })
}

/**
 * For a multipart body without its boundary or its end, the parser throws a plain Error that has no
 * code. Only the file that it comes from tells it from others.
 */
function isMultipartFault(error: Error): boolean {
  return /[\\/]@fastify[\\/](busboy|multipart)[\\/]/.test(error.stack ?? '')
}
