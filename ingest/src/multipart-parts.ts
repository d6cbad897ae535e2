import type { IncomingMessage } from 'node:http'
import { finished, PassThrough, type Readable } from 'node:stream'
import { MIMEType } from 'node:util'
import type { AppError } from '@avatar/service-kit'
import { Dicer } from '@fastify/busboy'
import { fieldRefused } from './field-refused.ts'

/** One part of a multipart/form-data body, as its headers describe it. */
export type Part = {
  name: string
  /** Undefined when the part has no file name, which RFC 7578 allows also for a file. */
  filename: string | undefined
  /** Undefined when the part has no Content-Type, or one that is no media type. */
  type: MIMEType | undefined
  body: Readable
}

export type MultipartParts = ReturnType<typeof multipartParts>

type Headers = Partial<Record<string, string[]>>
type Arrived = { headers: Headers; body: Readable }

/** RFC 2046 allows 70 characters. The search for the boundary takes no more than 256. */
const boundaryMaxCharacters = 200

/**
 * Splits a multipart/form-data body into its parts. A part must be read to its end, or destroyed,
 * before the next one comes. Leaving the loop early leaves the rest of the body unread.
 *
 * It drives the parser inside Fastify's multipart plugin. The plugin itself drops parts without a
 * usable header, repairs invalid UTF-8 and parses JSON before anybody can see what was sent.
 *
 * @throws AppError MALFORMED_MULTIPART, with what is malformed, while the parts are read
 */
export function multipartParts(raw: IncomingMessage, contentType: MIMEType) {
  const boundary = boundaryOf(contentType)
  const dicer = new Dicer({ boundary, maxHeaderPairs: 100 })
  // The parser announces every part of a chunk at once, and their headers only to those who listen by then.
  const arrived = new PassThrough({ objectMode: true })
  const counts = { begun: 0, withHeaders: 0 }
  let beginning: Buffer = Buffer.alloc(0)
  let fault: AppError | undefined
  let open: Readable | undefined

  raw.once('data', (chunk: Buffer) => {
    beginning = chunk
  })
  dicer.on('part', (body) => {
    counts.begun++
    open = body
    // Unhandled, the error of a part that nobody reads would end the process.
    body.on('error', () => undefined)
    body.once('header', (headers) => {
      counts.withHeaders++
      arrived.write({ headers: headers as Headers, body } satisfies Arrived)
    })
  })
  dicer.on('error', (error) => fail(cutOff(error)))
  dicer.on('finish', () => {
    if (counts.begun > counts.withHeaders)
      fail(malformed('the headers of a part have no end, which is an empty line'))
    else arrived.end()
  })
  const stopWatching = finished(raw, { writable: false }, (error) => {
    if (!error) return
    fail(malformed('the connection was closed before the body had ended', error))
    open?.destroy(error)
  })

  function fail(error: AppError) {
    fault ??= error
    arrived.destroy(fault)
  }

  /** What a body is that ends before the parser has seen its last boundary. */
  function cutOff(cause: Error): AppError {
    const hasLoneLf = counts.withHeaders === 0 && beginning.includes(`--${boundary}\n`)
    if (beginning.length === 0) return malformed('it is empty', cause)
    if (hasLoneLf) return malformed('its lines must end with CRLF, not with LF alone', cause)
    if (counts.begun > 0)
      return malformed('it ends before its last boundary, “--boundary--”; send all of it', cause)
    const problem = 'its boundary is not in the body; leave the header to your HTTP client'
    return malformed(problem, cause, 'Content-Type')
  }

  async function* parts(): AsyncGenerator<Part> {
    raw.pipe(dicer)
    let position = 0
    try {
      for await (const { headers, body } of arrived as AsyncIterable<Arrived>)
        yield { ...describe(headers, ++position), body }
    } finally {
      stopWatching()
      raw.unpipe(dicer)
      open?.destroy()
      arrived.destroy()
    }
  }

  return {
    [Symbol.asyncIterator]: parts,
    /** What is wrong with the body. It explains why reading a part failed. */
    fault: () => fault,
  }
}

function boundaryOf(contentType: MIMEType): string {
  const boundary = contentType.params.get('boundary') ?? ''
  const refuse = (problem: string) => malformed(problem, undefined, 'Content-Type')
  if (boundary === '')
    throw refuse('it names no boundary; leave the header to your HTTP client, which adds one')
  if (boundary.length > boundaryMaxCharacters)
    throw refuse(`its boundary is longer than ${boundaryMaxCharacters} characters`)
  if (!/^[\t -~]*$/.test(boundary)) throw refuse('its boundary has characters outside ASCII')
  return boundary
}

/** @throws AppError for a part that is no form field, or that is encoded in a way that HTTP has no use for */
function describe(headers: Headers, position: number): Omit<Part, 'body'> {
  const part = `part ${position}`
  const [disposition = '', ...others] = headers['content-disposition'] ?? []
  const expected = 'Content-Disposition: form-data; name="…"'
  if (others.length > 0) throw fieldRefused(part, 'it has more than one Content-Disposition header')
  if (disposition === '') throw fieldRefused(part, `it has no readable header ${expected}`)
  if (!/^\s*form-data\s*(;|$)/i.test(disposition))
    throw fieldRefused(part, `its header must be ${expected}`, { found: shown(disposition) })
  const names = parametersOf(disposition, 'name')
  const [name] = names
  if (!name)
    throw fieldRefused(part, `it has no name: send ${expected}`, { found: shown(disposition) })
  if (names.length > 1)
    throw fieldRefused(part, 'it has more than one name', { found: shown(disposition) })
  const [encoding = 'binary'] = headers['content-transfer-encoding'] ?? []
  if (!/^\s*(7bit|8bit|binary)?\s*$/i.test(encoding)) {
    const problem = 'Content-Transfer-Encoding is not supported; send the bytes as they are'
    throw fieldRefused(shown(name), problem, { found: shown(encoding) })
  }
  const [filename] = parametersOf(disposition, 'filename')
  const type = mediaTypeOf(headers['content-type']?.[0])
  return { name, filename: filename ?? parametersOf(disposition, 'filename*')[0], type }
}

/** The values of a parameter, in Latin-1 as in the header. */
function parametersOf(disposition: string, wanted: string): string[] {
  const parameters = disposition.matchAll(/;\s*([^\s;="]+)\s*=\s*("(?:\\.|[^"\\])*"|[^;]*)/g)
  return [...parameters]
    .filter(([, name = '']) => name.toLowerCase() === wanted)
    .map(([, , value = '']) => value.trim().replace(/^"(.*)"$/s, '$1'))
    .map((value) => value.replaceAll(/\\(["\\])/g, '$1'))
}

/** The media type of a header, or undefined if it is none. */
export function mediaTypeOf(header: string | undefined): MIMEType | undefined {
  try {
    return header === undefined ? undefined : new MIMEType(header)
  } catch {
    return undefined
  }
}

/** A name from a header as an answer may show it. */
export function shown(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8').slice(0, 100)
}

function malformed(problem: string, cause?: Error, field = 'body'): AppError {
  return fieldRefused(field, problem, { code: 'MALFORMED_MULTIPART', cause })
}
