import { errorEnvelopeSchema, failures } from '@avatar/contracts'
import { Validator } from '@seriousme/openapi-schema-validator'
import { describe, expect, it } from 'vitest'
import { useRestWorld } from './rest-world.ts'

const world = useRestWorld()

type Operation = {
  security?: object[]
  responses: Record<string, { description: string; headers?: object; content?: object }>
}
type Document = {
  openapi: string
  paths: Record<string, Record<string, Operation>>
}

const open = (path: string) => fetch(world.url + path)
const readDocument = async () => (await (await open('/openapi.json')).json()) as Document

describe('the OpenAPI document', () => {
  it('is valid OpenAPI 3.1 and needs no key', async () => {
    const validator = new Validator()
    const { valid, errors } = await validator.validate((await readDocument()) as never)
    expect(errors).toBeUndefined()
    expect(valid).toBe(true)
    expect(validator.version).toBe('3.1')
  })

  it('describes every route, with no status that the API does not use', async () => {
    const { paths } = await readDocument()
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        name: `${method} ${path}`,
        operation,
      })),
    )
    expect(operations.map(({ name }) => name).toSorted()).toEqual([
      'get /events/{job_id}',
      'get /health',
      'get /jobs',
      'get /result/{job_id}',
      'get /result/{job_id}/video',
      'get /status/{job_id}',
      'get /usage',
      'post /cancel/{job_id}',
      'post /events/{job_id}/token',
      'post /generate',
    ])
    const inUse = [
      200, 201, 204, 302, 400, 401, 402, 404, 405, 408, 409, 410, 413, 414, 415, 422, 429, 503,
    ].map(String)
    for (const { operation } of operations)
      expect(inUse).toEqual(expect.arrayContaining(Object.keys(operation.responses)))
  })

  it('lists the failures that routes answer with', async () => {
    const { paths } = await readDocument()
    const responses = Object.keys(paths['/generate']?.['post']?.responses ?? {})
    expect(responses).toEqual([
      ...['200', '201', '400', '401', '402', '405', '408', '413', '415', '422', '429', '503'],
    ])
    for (const operation of Object.values(paths).flatMap(Object.values))
      for (const { description } of Object.values((operation as Operation).responses))
        expect(description).not.toBe('Default Response')
    const accepted = paths['/generate']?.['post']?.responses['201']
    expect(Object.keys(accepted?.headers ?? {})).toEqual(['RateLimit', 'RateLimit-Policy'])
    expect(paths['/health']?.['get']?.responses['200']?.headers).toBeUndefined()
    const answer = await world.call('/nowhere')
    expect(errorEnvelopeSchema.parse(answer.body).error.code).toBe('ROUTE_NOT_FOUND')
  })
})

describe('the event stream in the OpenAPI document', () => {
  it('is text/event-stream, and its failures are JSON as everywhere', async () => {
    const { paths } = await readDocument()
    const operation = paths['/events/{job_id}']?.['get']
    const types = Object.entries(operation?.responses ?? {}).map(([status, { content = {} }]) => [
      status,
      ...Object.keys(content),
    ])
    expect(types).toEqual([
      ['200', 'text/event-stream'],
      ['204'],
      ...['400', '401', '404', '405', '429', '503'].map((status) => [status, 'application/json']),
    ])
    expect(operation?.security).toEqual([
      ...[{ apiKey: [] }, { apiKeyHeader: [] }, { eventToken: [] }],
    ])
  })
})

describe('the pages at /docs', () => {
  it('load nothing from other origins, and have a policy that forbids it', async () => {
    const page = await open('/docs')
    expect(page.status).toBe(200)
    expect(page.headers.get('content-type')).toContain('text/html')
    const policy = page.headers.get('content-security-policy') ?? ''
    expect(policy).toContain("default-src 'self'")
    expect(policy).not.toContain('upgrade-insecure-requests')
    expect(policy).not.toMatch(/https?:/)

    const html = await page.text()
    const links = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link ?? '')
    expect(links.length).toBeGreaterThan(3)
    expect(html).not.toMatch(/<script>(?!<)/)
    for (const link of links) {
      const target = new URL(link, `${world.url}/docs/`)
      expect(target.origin).toBe(world.url)
      expect((await fetch(target)).status, link).toBe(200)
    }
    expect(await (await open('/docs/json')).json()).toEqual(await readDocument())
  })
})

it('promises every status of the failure table', () => {
  const promised = new Set([
    400, 401, 402, 404, 405, 408, 409, 410, 413, 414, 415, 422, 429, 500, 503,
  ])
  for (const { httpStatus } of Object.values(failures)) expect(promised).toContain(httpStatus)
})
