import { limits, submissionFieldsSchema } from '@avatar/contracts'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance, FastifySchema } from 'fastify'
import { jsonSchemaTransform } from 'fastify-type-provider-zod'
import { z } from 'zod'

/**
 * The pages may load their own files and nothing else. The plugin's own policy would make browsers
 * upgrade to HTTPS, which this server does not speak. Swagger UI styles its elements inline.
 */
const docsPolicy = {
  'default-src': ["'self'"],
  'style-src': ["'self'", "'unsafe-inline'"],
  'img-src': ["'self'", 'data:'],
  'object-src': ["'none'"],
  'base-uri': ["'self'"],
  'frame-ancestors': ["'none'"],
}

/** Serves the routes' OpenAPI 3.1 document at `/openapi.json` and its pages at `/docs`, without a key. */
export async function useOpenapi(app: FastifyInstance, publicPathPrefix: string) {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'avatar-api',
        version: '0.1.0',
        description: 'Talking-avatar videos from a portrait and a voice recording.',
      },
      ...(publicPathPrefix === '' ? {} : { servers: [{ url: publicPathPrefix }] }),
      components: {
        securitySchemes: {
          apiKey: { type: 'http', scheme: 'bearer', description: 'ava_live_…' },
          apiKeyHeader: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
          eventToken: { type: 'apiKey', in: 'query', name: 'token', description: 'ava_evt_…' },
        },
      },
      security: [{ apiKey: [] }, { apiKeyHeader: [] }],
    },
    transform: (route) => {
      const { schema, url } = jsonSchemaTransform(route)
      const isKeyed = schema.security?.length !== 0
      const response = withHeaders(Object(schema.response), isKeyed)
      if (route.url === '/generate')
        return { url, schema: { ...schema, response, ...uploadSchema() } }
      if (route.url !== '/events/:job_id') return { url, schema: { ...schema, response } }
      // The failures of the stream are JSON; only the stream itself has a type of its own.
      const { produces: _, ...rest } = schema
      return { url, schema: { ...rest, response: { 200: eventStream, ...response } } }
    },
    transformObject: (document) => {
      if (!('openapiObject' in document)) return document.swaggerObject
      const { openapiObject } = document
      const body = openapiObject.paths?.['/generate']?.post?.requestBody
      const form = body && 'content' in body ? body.content['multipart/form-data'] : undefined
      if (form) form.encoding = uploadEncoding
      return openapiObject
    },
  })
  app.addHook('onRoute', (route) => {
    if (route.url.startsWith('/docs')) route.config = { ...route.config, isPublic: true }
  })
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: docsPolicy })
  app.get('/openapi.json', { config: { isPublic: true }, schema: { hide: true } }, async () =>
    app.swagger(),
  )
}

/** The media types of the parts. A route's schema has no place for them. */
const recording = { contentType: 'audio/wav, audio/mpeg' }
const uploadEncoding = {
  image: { contentType: 'image/png, image/jpeg' },
  audio: recording,
  audio2: recording,
  voice: recording,
  video: { contentType: 'video/mp4, video/quicktime, video/webm' },
}

type Responses = Record<string, object>

const header = (description: string) => ({ type: 'string', description })

const rateHeaders = {
  RateLimit: header('the tokens left (`r`) and the seconds until all are back (`t`)'),
  'RateLimit-Policy': header(
    'the tokens there are (`q`) and the seconds in which all come back (`w`)',
  ),
}
const retryAfter = { 'Retry-After': header('the seconds to wait before the same request') }
const allow = { Allow: header('the methods that the path takes') }

/** The headers of every 405, of what may be repeated, and of every answer to a known key. */
function withHeaders(responses: Responses, isKeyed: boolean): Responses {
  const described = Object.entries(responses).map(([status, response]) => {
    const headers = {
      ...(isKeyed && !['401', '405'].includes(status) ? rateHeaders : {}),
      ...(['429', '503'].includes(status) ? retryAfter : {}),
      ...(status === '405' ? allow : {}),
    }
    return [status, Object.keys(headers).length > 0 ? { ...response, headers } : response]
  })
  return Object.fromEntries(described)
}

/** The answer of an event stream. The route's schema cannot hold it, because the stream bypasses Fastify's reply. */
const eventStream = {
  description:
    'Facts of the job (`submitted`, `queued`, `started`, `cancel-requested`, `completed`, `failed`, ' +
    '`cancelled`), each with an id for `Last-Event-ID`, and `progress` without one. The data of each ' +
    'is what `/status` says at that moment.',
  // OpenAPI 3.1 has no words for a stream of events; a schema here would be that of the whole body.
  content: { 'text/event-stream': { schema: {} } },
}

/**
 * The body and header of the upload, for the document alone: a route's schema cannot validate a body
 * that is streamed. The fields come from the schema by which the upload is parsed. The part `metadata`
 * is left to the description: JSON Schema says that it excludes other parts only in ways on which
 * generators of clients and of tests break.
 */
function uploadSchema(): FastifySchema {
  const { properties } = z.toJSONSchema(submissionFieldsSchema, { io: 'output' })
  const file = (description: string) => ({ type: 'string', format: 'binary', description })
  return {
    body: {
      type: 'object',
      required: ['audio'],
      additionalProperties: false,
      properties: {
        image: file('PNG or JPEG, at most 10 MB, sides 128 to 8192 pixels, at most 40 megapixels'),
        audio: file('WAV or MP3, at most 50 MB and 5 minutes'),
        video: file('instead of `image`: MP4, MOV or WebM, at most 200 MB and 5 minutes'),
        audio2: file('of a second speaker: WAV or MP3'),
        voice: file('drives the lips while `audio` is delivered: WAV or MP3, as long as `audio`'),
        ...properties,
      },
    },
    headers: {
      type: 'object',
      properties: {
        'Idempotency-Key': {
          type: 'string',
          minLength: 1,
          maxLength: limits.idempotencyKeyMaxCharacters,
          description: 'The same request again under the same key answers with the same job.',
        },
      },
    },
  }
}
