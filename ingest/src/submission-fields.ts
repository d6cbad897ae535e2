import {
  limits,
  type SubmissionFields,
  submissionFieldsSchema,
  submissionTextSchema,
} from '@avatar/contracts'
import { z } from 'zod'
import { fieldRefused } from './field-refused.ts'
import type { Part } from './multipart-parts.ts'

/** A part that holds all fields as one JSON object. */
const metadata = 'metadata'

type FieldName = keyof SubmissionFields
const fieldNames = Object.keys(submissionFieldsSchema.shape) as FieldName[] // What the schema is made of.

/** The names of all parts that are not files. */
export const textPartNames: readonly string[] = [...fieldNames, metadata]

/** The room that the longest prompt takes when JSON escapes every UTF-16 unit of it, and as much again. */
const metadataMaxBytes = 64 * 1024

/** The room that the longest list of turns takes, and as much again. */
const turnsMaxBytes = 32 * 1024

const maxBytesOf = (name: string) => {
  if (name === metadata) return metadataMaxBytes
  return name === 'turns' ? turnsMaxBytes : 4 * (limits.promptMaxCharacters + 2)
}

/**
 * Collects the fields of one submission: each as a part of its own, or all in the part `metadata`.
 *
 * Its methods throw AppError INVALID_REQUEST, which names the field and what is wrong with it.
 */
export function createSubmissionFields() {
  const seen = new Set<string>()
  const values: Partial<Record<FieldName, unknown>> = {}

  function take(name: FieldName, value: unknown, field: string, schema: 'typed' | 'text') {
    if (name in values) throw fieldRefused(field, `sent twice: by itself and in “${metadata}”`)
    const { shape } = schema === 'text' ? submissionTextSchema : submissionFieldsSchema
    const parsed = shape[name].safeParse(value)
    // What a prompt says must not be logged.
    const found = name === 'prompt' && typeof value === 'string' ? {} : { found: described(value) }
    if (!parsed.success)
      throw fieldRefused(field, parsed.error.issues[0]?.message ?? 'not valid', found)
    values[name] = parsed.data
  }

  function takeMetadata(json: string) {
    const object = parseJson(metadata, json)
    if (typeof object !== 'object' || object === null || Array.isArray(object))
      throw fieldRefused(metadata, 'must be a JSON object', { found: described(object) })
    const repeated = repeatedKey(json)
    if (repeated !== undefined)
      throw fieldRefused(`${metadata}.${repeated.slice(0, 100)}`, 'given twice in the object')
    for (const [key, value] of Object.entries(object)) {
      const field = `${metadata}.${key.slice(0, 100)}`
      const name = fieldNames.find((known) => known === key)
      if (!name) throw fieldRefused(field, `unknown; the options are ${fieldNames.join(', ')}`)
      take(name, value, field, 'typed')
    }
  }

  return {
    /** Takes a part whose name is one of `textPartNames`. An empty one counts as not sent. */
    async add({ name, type, body }: Part): Promise<void> {
      if (seen.has(name)) throw fieldRefused(name, 'sent twice')
      seen.add(name)
      const { bytes, isCut } = await readUpTo(maxBytesOf(name), body)
      const text = decode(name, bytes, type?.params.get('charset') ?? 'utf-8', isCut)
      if (text === '') return
      if (name === metadata) {
        if (isCut) throw fieldRefused(name, `at most ${metadataMaxBytes} bytes`)
        return takeMetadata(text)
      }
      const isJson = /[/+]json$/.test(type?.essence ?? '')
      take(
        name as FieldName,
        isJson ? parseJson(name, text) : text,
        name,
        isJson ? 'typed' : 'text',
      )
    },
    /** All fields, with their defaults. */
    get: (): SubmissionFields => submissionFieldsSchema.parse(values),
  }
}

/** Reads a stream to its end and keeps at least its first `maxBytes`, which is enough to judge it. */
async function readUpTo(maxBytes: number, body: AsyncIterable<Buffer>) {
  const kept: Buffer[] = []
  let bytes = 0
  for await (const chunk of body) {
    if (bytes <= maxBytes) kept.push(chunk)
    bytes += chunk.length
  }
  return { bytes: Buffer.concat(kept), isCut: bytes > maxBytes }
}

/** A byte-order mark is dropped. The last character may be cut when `isCut` is set. */
function decode(field: string, bytes: Buffer, charset: string, isCut: boolean): string {
  let decoder: InstanceType<typeof TextDecoder>
  try {
    decoder = new TextDecoder(charset, { fatal: true })
  } catch (cause) {
    throw fieldRefused(field, 'unknown charset; send UTF-8', {
      found: charset.slice(0, 100),
      cause,
    })
  }
  try {
    return decoder.decode(bytes, { stream: isCut })
  } catch (cause) {
    const problem = `binary, or text that is not valid ${decoder.encoding}; send UTF-8 text`
    throw fieldRefused(field, problem, { cause })
  }
}

function parseJson(field: string, text: string): unknown {
  const parsed = jsonSchema.safeParse(text)
  if (parsed.success) return parsed.data
  throw fieldRefused(field, 'not valid JSON')
}

/** Unlike JSON.parse, it fails without quoting the text, which must not be logged. */
const jsonSchema = z.string().transform((text, context): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    context.addIssue('not valid JSON')
    return z.NEVER
  }
})

/** A key that the outermost object of a valid JSON text has twice. JSON.parse drops the first of them. */
function repeatedKey(json: string): string | undefined {
  const seen = new Set<string>()
  let depth = 0
  for (const [token, colon] of json.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[[\]{}]/g)) {
    if (token === '{' || token === '[') depth++
    else if (token === '}' || token === ']') depth--
    if (depth !== 1 || colon === undefined) continue
    const key: string = JSON.parse(token.slice(0, -colon.length))
    if (seen.has(key)) return key
    seen.add(key)
  }
  return undefined
}

function described(value: unknown): string {
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'object' && value !== null) return 'an object'
  return String(value).slice(0, 100)
}
