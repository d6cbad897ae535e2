import { type IncomingMessage, maxHeaderSize, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { type ErrorEnvelope, type FailureCode, failures } from '@avatar/contracts'
import { AppError, asAppError, type Log, logFailure } from '@avatar/service-kit'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** Seconds a client is asked to wait before it repeats a retryable request. */
export const retryAfterSeconds = 2

/** Fastify's and its plugins' codes in our words. Everything else without a code is our bug. */
const codeOf: Readonly<Record<string, FailureCode>> = {
  FST_REQ_FILE_TOO_LARGE: 'AUDIO_TOO_LARGE',
  FST_FILES_LIMIT: 'INVALID_REQUEST',
  FST_FIELDS_LIMIT: 'INVALID_REQUEST',
  FST_PARTS_LIMIT: 'INVALID_REQUEST',
  FST_PROTO_VIOLATION: 'INVALID_REQUEST',
  FST_INVALID_MULTIPART_CONTENT_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'MALFORMED_REQUEST',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'INVALID_REQUEST',
  FST_ERR_CTP_INVALID_JSON_BODY: 'INVALID_REQUEST',
  FST_ERR_VALIDATION: 'INVALID_REQUEST',
  FST_ERR_BAD_URL: 'MALFORMED_REQUEST',
  FST_ERR_MAX_PARAM_LENGTH: 'URL_TOO_LONG',
}

/** One envelope for every failure, whichever way it comes. */
export function failureEnvelope(error: AppError, requestId: string): ErrorEnvelope {
  // What is not the caller's fault tells the caller nothing but the table's sentence.
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

/** Answers a request with a failure; also used for URLs that the router itself refuses. */
export function sendFailure(error: AppError, request: FastifyRequest, reply: FastifyReply) {
  const { httpStatus, outcome } = failures[error.code]
  const isRefused = failures[error.code].blame === 'caller'
  logFailure(request.log as Log, error, isRefused ? 'request refused' : 'request failed')
  if (outcome === 'retry') reply.header('retry-after', retryAfterSeconds)
  if (error.code === 'UNAUTHORIZED') reply.header('www-authenticate', 'Bearer')
  return reply.code(httpStatus).send(failureEnvelope(error, request.id))
}

/** Answers what is not even HTTP, or not in time, on the bare socket. */
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

/** Headers that are too long look the same; then the line of the URL ends within the bound. */
function isLongUrl({ code, rawPacket }: { code?: string; rawPacket?: Buffer }): boolean {
  const lineBytes = rawPacket?.indexOf('\n') ?? -1
  return code === 'HPE_HEADER_OVERFLOW' && (lineBytes < 0 || lineBytes >= maxHeaderSize)
}

/** Answers a request that expects something else than `100-continue`; Node's own answer has no body. */
export function answerExpectation(request: IncomingMessage, response: ServerResponse) {
  const expect = String(request.headers.expect).slice(0, 100)
  const details = { field: 'Expect', problem: 'only 100-continue is known', value: expect }
  const error = new AppError('MALFORMED_REQUEST', { details })
  const body = JSON.stringify(failureEnvelope(error, 'none'))
  response.writeHead(failures.MALFORMED_REQUEST.httpStatus, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    connection: 'close',
  })
  response.end(body)
}

/** A foreign error in our words, once, where it enters. */
export function translate(error: unknown): AppError {
  if (error instanceof AppError || !(error instanceof Error)) return asAppError(error)
  const { code, validation } = error as FastifyError // Only read, and both may be missing.
  const known = code === undefined ? undefined : codeOf[code]
  if (!known) return isMultipartFault(error) ? malformed(error) : asAppError(error)
  const [issue] = validation ?? []
  const field = issue?.instancePath?.slice(1)
  return new AppError(known, {
    cause: error,
    details: issue ? { field, problem: issue.message } : {},
  })
}

/**
 * A multipart body without its boundary or its end is a plain Error without any code: the parser
 * throws it from its own file, which is all there is to tell it by.
 */
function isMultipartFault(error: Error): boolean {
  return /[\\/]@fastify[\\/](busboy|multipart)[\\/]/.test(error.stack ?? '')
}

function malformed(cause: Error): AppError {
  return new AppError('MALFORMED_MULTIPART', { cause })
}
