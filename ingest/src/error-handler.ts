import { maxHeaderSize, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { type ErrorEnvelope, type FailureCode, failures } from '@avatar/contracts'
import { AppError, asAppError, type Log } from '@avatar/service-kit'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { FailureLog } from './failure-log.ts'
import { fieldRefused } from './field-refused.ts'
import { addressKey } from './rate/address-key.ts'

/** Seconds a client is asked to wait before it repeats a retryable request. */
export const retryAfterSeconds = 2

/** How long a client gets to read the answer to what is not valid HTTP, and to close. */
const closeWithinMs = 5_000

/** The codes that Fastify and its plugins throw at a request, as ours. Any other error is our bug. */
const codeOf: Readonly<Record<string, FailureCode>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_VALIDATION: 'INVALID_REQUEST',
  FST_ERR_BAD_URL: 'MALFORMED_REQUEST',
}

/** The envelope of every failure. */
function failureEnvelope(error: AppError, requestId: string): ErrorEnvelope {
  // Of a failure of ours the caller learns the table's sentence and nothing else.
  const { httpStatus, blame } = failures[error.code]
  const isExplained = httpStatus < 500 || blame === 'dependency'
  return {
    error: {
      code: error.code,
      message: isExplained ? error.message : failures[error.code].summary,
      details: isExplained ? { ...error.details } : {},
    },
    meta: { request_id: requestId },
  }
}

/** Sets the handlers of a Fastify instance: thrown errors, unknown routes and methods. */
export function useErrorHandler(app: FastifyInstance, failureLog: FailureLog) {
  /** The methods of each path. */
  const routes = new Map<string, { pattern: RegExp; methods: Set<string> }>()
  app.addHook('onRoute', ({ url, method }) => {
    if (url === '*') return // OPTIONS, which is answered everywhere.
    const known = routes.get(url) ?? {
      // Unlike URLPattern, the router does not resolve `..`.
      pattern: new RegExp(
        `^${url.replaceAll('.', '\\.').replaceAll(/:\w+/g, '[^/]+').replace('*', '.*')}$`,
      ),
      methods: new Set(['OPTIONS']),
    }
    for (const each of [method].flat()) known.methods.add(each)
    // The plugin of the documentation adds one of its routes out of sight of this hook.
    if (known.methods.has('HEAD')) known.methods.add('GET')
    routes.set(url, known)
  })

  function notFound({ url, method }: FastifyRequest, reply: FastifyReply): AppError {
    const [pathname = ''] = url.split('?')
    const known = [...routes.values()].find(({ pattern }) => pattern.test(decodeURI(pathname)))
    if (!known) return new AppError('ROUTE_NOT_FOUND')
    const allow = [...known.methods].toSorted().join(', ')
    reply.header('allow', allow)
    return new AppError('METHOD_NOT_ALLOWED', { details: { method, allow } })
  }

  app.setErrorHandler((error, request, reply) => {
    // Fastify checks the body of a request without a route too. Its route is what is wrong with it.
    const isOurs = error instanceof AppError || !request.is404
    sendFailure(isOurs ? translate(error) : notFound(request, reply), request, reply, failureLog)
  })
  app.setNotFoundHandler((request, reply) =>
    sendFailure(notFound(request, reply), request, reply, failureLog),
  )
}

/** Answers a request with a failure. URLs that the router itself refuses come here too. */
export function sendFailure(
  error: AppError,
  request: FastifyRequest,
  reply: FastifyReply,
  failureLog: FailureLog,
) {
  const { httpStatus, outcome } = failures[error.code]
  const isRefused = failures[error.code].blame === 'caller'
  request.failureCode = error.code
  const sentence = isRefused ? 'request refused' : 'request failed'
  const customer = request.owner || addressKey(request.ip)
  // The logger is the service's own, of which Fastify's type shows a part.
  failureLog.write(request.log as Log, error, sentence, customer, {
    ...(request.owner ? { owner: request.owner } : {}),
    route: request.is404 ? 'unknown' : (request.routeOptions.url ?? 'unknown'),
    status: httpStatus,
  })
  if (outcome === 'retry') reply.header('retry-after', secondsToWait(error))
  if (error.code === 'UNAUTHORIZED') reply.header('www-authenticate', 'Bearer')
  return reply.code(httpStatus).send(failureEnvelope(error, request.id))
}

function secondsToWait({ retryAfterMs }: AppError): number {
  return retryAfterMs === undefined ? retryAfterSeconds : Math.ceil(retryAfterMs / 1000)
}

/** The latest answer of each connection. */
const answers = new WeakMap<Socket, ServerResponse>()

/** Answers what never becomes a request of Fastify's: what is not valid HTTP, and CONNECT. */
export function useBareAnswers({ server }: FastifyInstance) {
  for (const event of ['request', 'checkContinue', 'checkExpectation'])
    server.prependListener(event, ({ socket }, response) => answers.set(socket, response))
  server.on('connect', (_request, socket) => {
    const allow = 'GET, HEAD, OPTIONS, POST'
    const details = { method: 'CONNECT', allow }
    const error = new AppError('METHOD_NOT_ALLOWED', { details })
    answerBare(socket as Socket, error, `allow: ${allow}\r\n`)
  })
}

/**
 * Answers on the bare socket what is not valid HTTP, or does not arrive in time. What follows a whole
 * request does not cost it its answer, and nothing is written into an answer that has begun.
 */
export function answerMalformed(
  error: Error & { code?: string; rawPacket?: Buffer },
  socket: Socket,
) {
  if (error.code === 'ECONNRESET' || !socket.writable) return
  const answer = answers.get(socket)
  if (!answer || answer.writableFinished) return answerBare(socket, failureOf(error))
  if (answer.headersSent) return socket.destroySoon()
  if (!answer.req.complete) return answerBare(socket, failureOf(error))
  answer.setHeader('connection', 'close')
}

function answerBare(socket: Socket, failure: AppError, headers = '') {
  const { code } = failure
  const { httpStatus } = failures[code]
  const body = JSON.stringify(failureEnvelope(failure, 'none'))
  socket.end(
    `HTTP/1.1 ${httpStatus} ${code}\r\ncontent-type: application/json; charset=utf-8\r\n${headers}` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
  // A client that never closes its side would keep the connection for ever.
  const closing = setTimeout(() => socket.destroy(), closeWithinMs)
  socket.once('close', () => clearTimeout(closing))
}

function failureOf(error: Error & { code?: string; rawPacket?: Buffer }): AppError {
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return new AppError('REQUEST_TIMEOUT', { details: { problem: 'the head took too long' } })
  if (isLongUrl(error)) return new AppError('URL_TOO_LONG')
  if (error.code !== 'HPE_HEADER_OVERFLOW') return new AppError('MALFORMED_REQUEST')
  const problem = `more than ${maxHeaderSize} bytes with the URL; send fewer or shorter ones`
  return fieldRefused('headers', problem, { code: 'MALFORMED_REQUEST' })
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
  const known = codeOf[code]
  if (!known) return asAppError(error)
  const more = { code: known, cause: error }
  const [issue] = validation ?? []
  if (issue) return fieldRefused(issue.instancePath?.slice(1) ?? '', issue.message ?? '', more)
  if (known === 'UNSUPPORTED_MEDIA_TYPE')
    return fieldRefused('Content-Type', 'it is not a media type', more)
  return new AppError(known, more)
}
