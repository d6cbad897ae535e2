import { limits, submissionFieldsSchema } from '@avatar/contracts'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance, FastifySchema } from 'fastify'
import { jsonSchemaTransform } from 'fastify-type-provider-zod'
import { z } from 'zod'

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
      const transformed = jsonSchemaTransform(route)
      if (route.url !== '/generate') return transformed
      return { ...transformed, schema: { ...transformed.schema, ...uploadSchema() } }
    },
  })
  app.addHook('onRoute', (route) => {
    if (route.url.startsWith('/docs')) route.config = { ...route.config, isPublic: true }
  })
  await app.register(swaggerUi, { routePrefix: '/docs' })
  app.get('/openapi.json', { config: { isPublic: true }, schema: { hide: true } }, async () =>
    app.swagger(),
  )
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
