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
export async function useOpenapi(app: FastifyInstance) {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'avatar-api',
        version: '0.1.0',
        description: 'Talking-avatar videos from a portrait and a voice recording.',
      },
      components: {
        securitySchemes: { apiKey: { type: 'http', scheme: 'bearer', description: 'ava_live_…' } },
      },
      security: [{ apiKey: [] }],
    },
    transform: (route) => {
      const { schema, url } = jsonSchemaTransform(route)
      if (route.url === '/generate') return { url, schema: { ...schema, ...uploadSchema() } }
      if (route.url !== '/events/:job_id') return { url, schema }
      return {
        url,
        schema: { ...schema, response: { 200: eventStream, ...Object(schema.response) } },
      }
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

/** The answer of an event stream. The route's schema cannot hold it, because the stream bypasses Fastify's reply. */
const eventStream = {
  description:
    'Facts of the job (`submitted`, `queued`, `started`, `cancel-requested`, `completed`, `failed`, ' +
    '`cancelled`), each with an id for `Last-Event-ID`, and `progress` without one. The data of each ' +
    'is what `/status` says at that moment.',
  content: { 'text/event-stream': { schema: { type: 'string' } } },
}

/**
 * The body and header of the upload, for the document alone: a route's schema cannot validate a body
 * that is streamed. The fields come from the schema by which the upload is parsed.
 */
function uploadSchema(): FastifySchema {
  const { properties } = z.toJSONSchema(submissionFieldsSchema, { io: 'output' })
  const file = (description: string) => ({ type: 'string', format: 'binary', description })
  return {
    body: {
      type: 'object',
      required: ['image', 'audio'],
      additionalProperties: false,
      properties: {
        image: file('PNG or JPEG, at most 10 MB, sides 128 to 8192 pixels, at most 40 megapixels'),
        audio: file('WAV or MP3, at most 50 MB and 5 minutes'),
        ...properties,
      },
    },
    headers: {
      type: 'object',
      properties: {
        'Idempotency-Key': {
          type: 'string',
          maxLength: limits.idempotencyKeyMaxCharacters,
          description: 'The same request again under the same key answers with the same job.',
        },
      },
    },
  }
}
