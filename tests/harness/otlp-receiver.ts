import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { z } from 'zod'

const valueSchema = z.union([
  z.object({ stringValue: z.string() }).transform(({ stringValue }) => stringValue),
  // OTLP writes 64-bit numbers as text.
  z
    .object({ intValue: z.union([z.string(), z.number()]) })
    .transform(({ intValue }) => Number(intValue)),
  z.object({ doubleValue: z.number() }).transform(({ doubleValue }) => doubleValue),
  z.object({ boolValue: z.boolean() }).transform(({ boolValue }) => boolValue),
])
const attributesSchema = z
  .array(z.object({ key: z.string(), value: valueSchema }))
  .default([])
  .transform((pairs) => Object.fromEntries(pairs.map(({ key, value }) => [key, value])))
const idSchema = z.string().regex(/^[0-9a-f]*$/)

const spanSchema = z.object({
  traceId: idSchema,
  spanId: idSchema,
  parentSpanId: idSchema.optional(),
  name: z.string(),
  kind: z.number(),
  startTimeUnixNano: z.union([z.string(), z.number()]).transform(BigInt),
  endTimeUnixNano: z.union([z.string(), z.number()]).transform(BigInt),
  attributes: attributesSchema,
  links: z.array(z.object({ traceId: idSchema, spanId: idSchema })).default([]),
  events: z.array(z.unknown()).default([]),
  status: z.object({ code: z.number().default(0) }).default({ code: 0 }),
})

const exportSchema = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: attributesSchema }),
      scopeSpans: z.array(z.object({ spans: z.array(spanSchema) })),
    }),
  ),
})

/** A span as it reached the collector, with the service that wrote it. */
export type ReceivedSpan = z.infer<typeof spanSchema> & { service: string }

/** Spans of one trace, each with what hangs below it. */
export type SpanTree = ReceivedSpan & { children: SpanTree[] }

export type OtlpReceiver = Awaited<ReturnType<typeof startOtlpReceiver>>

/**
 * A collector of the tests: it keeps every span that is posted as OTLP/JSON to `/v1/traces`.
 *
 * @param isSilent accepts requests and never answers them
 */
export async function startOtlpReceiver({ isSilent = false } = {}) {
  const spans: ReceivedSpan[] = []
  const bodies: string[] = []
  const paths = new Set<string>()
  const problems: unknown[] = []
  let requests = 0

  async function take(request: IncomingMessage) {
    const body = await text(request)
    bodies.push(body)
    const { resourceSpans } = exportSchema.parse(JSON.parse(body))
    for (const { resource, scopeSpans } of resourceSpans)
      for (const span of scopeSpans.flatMap((scope) => scope.spans))
        spans.push({ ...span, service: String(resource.attributes['service.name']) })
  }

  const server = createServer(async (request, response) => {
    requests++
    paths.add(request.url ?? '')
    if (isSilent) {
      request.resume()
      return
    }
    await take(request).catch((error) => problems.push(error))
    response.setHeader('content-type', 'application/json').end('{}')
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo // It listens on a port.

  const ofTrace = (traceId: string) => unique(spans.filter((span) => span.traceId === traceId))
  return {
    endpoint: `http://127.0.0.1:${port}`,
    /** Everything that came, in the order in which it came. */
    spans,
    /** The same as it was posted, byte by byte. */
    bodies,
    /** Where it was posted to. */
    paths,
    /** What could not be read. */
    problems,
    requests: () => requests,
    ofTrace,
    /** The spans that name a job. */
    ofJob: (jobId: string) =>
      unique(spans.filter(({ attributes }) => attributes['avatar.job.id'] === jobId)),
    /** The spans that nothing of ours hangs above. One whole trace has one root. */
    treesOf: (traceId: string): SpanTree[] => treesOf(ofTrace(traceId)),
    async stop() {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    },
  }
}

/** A span that was written twice is one span. */
function unique(spans: readonly ReceivedSpan[]): ReceivedSpan[] {
  return [...new Map(spans.map((span) => [span.spanId, span])).values()]
}

function treesOf(spans: readonly ReceivedSpan[]): SpanTree[] {
  const nodes = new Map(spans.map((span) => [span.spanId, { ...span, children: [] } as SpanTree]))
  const roots: SpanTree[] = []
  for (const node of nodes.values()) {
    const above = node.parentSpanId ? nodes.get(node.parentSpanId) : undefined
    if (above) above.children.push(node)
    else roots.push(node)
  }
  for (const { children } of nodes.values())
    children.sort((a, b) => Number(a.startTimeUnixNano - b.startTimeUnixNano))
  return roots
}

/** The tree in words, for people: one line a span, indented below its parent. */
export function drawTree({ service, name, children }: SpanTree, depth = 0): string {
  const line = `${'  '.repeat(depth)}${service}: ${name}`
  return [line, ...children.map((child) => drawTree(child, depth + 1))].join('\n')
}
