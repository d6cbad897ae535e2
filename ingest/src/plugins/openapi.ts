import { limits, submissionFieldsSchema } from '@avatar/contracts'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance, FastifySchema } from 'fastify'
import { jsonSchemaTransform } from 'fastify-type-provider-zod'
import { z } from 'zod'

/**
 * What the pages may load: their own files. The plugin's own policy asks browsers to upgrade to
 * HTTPS, which a server without it cannot answer; Swagger UI styles its elements inline.
 */
const docsPolicy = {
  'default-src': ["'self'"],
  'style-src': ["'self'", "'unsafe-inline'"],
  'img-src': ["'self'", 'data:'],
  'object-src': ["'none'"],
  'base-uri': ["'self'"],
  'frame-ancestors': ["'none'"],
}

/** Describes the routes as OpenAPI 3.1 at `/openapi.json`, readable at `/docs`; neither needs a key. */
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

/** What a stream answers; it is written by hand, not by the route's schema. */
const eventStream = {
  description:
    'Facts of the job (`submitted`, `queued`, `started`, `cancel-requested`, `completed`, `failed`, ' +
    '`cancelled`), each with an id for `Last-Event-ID`, and `progress` without one. The data of each ' +
    'is what `/status` says at that moment.',
  content: { 'text/event-stream': { schema: { type: 'string' } } },
}

/**
 * The body and header of the upload. A streamed body cannot be validated by the route's schema, so
 * they stand in the document alone; the fields are those of the schema that the upload is parsed by.
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
