import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { limits, type SubmissionFields, type Timings } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { FastifyRequest } from 'fastify'
import { boundBody } from './bounded-body.ts'
import { fieldRefused } from './field-refused.ts'
import { type InputMedium, inputMedia, type RawMedia, type RawMedium } from './input-media.ts'
import {
  type MultipartParts,
  mediaTypeOf,
  multipartParts,
  type Part,
  shown,
} from './multipart-parts.ts'
import { createSubmissionFields, textPartNames } from './submission-fields.ts'

/** The raw inputs on disk, with the SHA-256 of what the client sent. */
export type Upload = RawMedia & { fields: SubmissionFields }

/** A request that works, for those who sent another kind of body. */
const example = 'curl -H "X-API-Key: KEY" -F image=@portrait.jpg -F audio=@voice.wav HOST/generate'

/**
 * Spools the parts of a multipart request into a folder. Whatever is wrong with the body, it is read
 * to its end, up to a bound: a client still sending would see a reset instead of the answer.
 *
 * @throws AppError for anything missing, too large, unknown or malformed; REQUEST_TIMEOUT when it does
 * not arrive in time; CLIENT_GONE when the client hung up
 */
export async function readUpload(
  request: FastifyRequest,
  folder: string,
  timings: Timings,
): Promise<Upload> {
  const type = requireMultipart(request)
  const body = boundBody(request.raw, {
    maxBytes: limits.drainMaxBytes,
    allowedMaxBytes: limits.bodyMaxBytes,
    idleMs: timings.uploadIdleMs,
    totalMs: timings.uploadMs,
  })
  let parts: MultipartParts | undefined
  try {
    parts = multipartParts(request.raw, type)
    const upload = await Promise.race([readParts(parts, folder, body.signal), body.failed])
    if (body.bytes() > limits.bodyMaxBytes)
      throw new AppError('BODY_TOO_LARGE', { details: { max_bytes: limits.bodyMaxBytes } })
    return upload
  } catch (thrown) {
    const error = parts?.fault() ?? thrown
    await body.drain()
    // A client that hung up gets no answer, and its doing so must not count as a fault of ours.
    const hasHungUp = request.raw.destroyed && !request.raw.complete
    throw hasHungUp ? new AppError('CLIENT_GONE', { cause: error }) : error
  }
}

/** The request's media type. @throws AppError UNSUPPORTED_MEDIA_TYPE */
export function requireMultipart({ headers }: FastifyRequest) {
  const encoding = headers['content-encoding'] ?? 'identity'
  if (!/^\s*(identity)?\s*$/i.test(encoding))
    throw unsupported('Content-Encoding', 'send the body without compression', encoding)
  const type = mediaTypeOf(headers['content-type'])
  if (type?.essence === 'multipart/form-data') return type
  const problem = 'send multipart/form-data, with the files image and audio'
  throw unsupported('Content-Type', problem, headers['content-type'] ?? 'none')
}

async function readParts(
  parts: MultipartParts,
  folder: string,
  signal: AbortSignal,
): Promise<Upload> {
  const files = new Map<InputMedium, RawMedium>()
  const fields = createSubmissionFields()
  for await (const part of parts) {
    const { name } = part
    if (textPartNames.includes(name)) await fields.add(part)
    else if (!isMedium(name)) throw unknown(name)
    else if (files.has(name)) throw fieldRefused(name, 'sent twice')
    else {
      const file = await spoolFile(part, name, folder, signal)
      if (file) files.set(name, file)
    }
  }
  const image = files.get('image')
  const audio = files.get('audio')
  const video = files.get('video')
  if (!image && !video) throw new AppError('IMAGE_MISSING', { details: { field: 'image' } })
  if (!audio) throw new AppError('AUDIO_MISSING', { details: { field: 'audio' } })
  const more = { audio2: files.get('audio2'), voice: files.get('voice') }
  return { image, video, audio, ...more, fields: fields.get() }
}

function isMedium(name: string): name is InputMedium {
  return Object.hasOwn(inputMedia, name)
}

/**
 * Stores a part as a file, whether or not it has a file name: n8n, for one, sends none. Undefined for one
 * that may be left out and that a browser sends empty.
 */
async function spoolFile(
  { filename, body }: Part,
  medium: InputMedium,
  folder: string,
  signal: AbortSignal,
): Promise<RawMedium | undefined> {
  const { maxBytes, tooLarge, empty, missing } = inputMedia[medium]
  const path = join(folder, medium)
  const hash = createHash('sha256')
  let bytes = 0
  let beginning: Buffer | undefined
  const counting = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      beginning ??= chunk
      bytes += chunk.length
      if (bytes > maxBytes)
        return done(new AppError(tooLarge, { details: { field: medium, max_bytes: maxBytes } }))
      hash.update(chunk)
      done(null, chunk)
    },
  })
  signal.throwIfAborted()
  await pipeline(body, counting, createWriteStream(path, { mode: 0o600 }), { signal })
  if (bytes === 0 && !filename && medium !== 'image' && medium !== 'audio') return undefined
  // Browsers send an empty file without a name when none was chosen.
  if (bytes === 0)
    throw fieldRefused(medium, 'it is empty; choose a file', { code: filename ? empty : missing })
  if (filename === undefined && beginning && isText(beginning))
    throw fieldRefused(medium, `it is text; send the file itself, for example -F ${medium}=@FILE`)
  return { path, sha256: hash.digest('hex') }
}

/** Whether bytes are text, such as a path, a URL or Base64. Every kind of media that we take is not. */
function isText(bytes: Buffer): boolean {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true })
    // biome-ignore lint/suspicious/noControlCharactersInRegex: media are full of them, text is not
    return !/[\0-\x08\x0e-\x1f]/.test(text)
  } catch {
    return false
  }
}

function unknown(name: string): AppError {
  const known = [...Object.keys(inputMedia), ...textPartNames].join(', ')
  return fieldRefused(shown(name), `unknown field; the form has ${known}`)
}

function unsupported(field: string, problem: string, found: string): AppError {
  const more = { found: found.slice(0, 100), example }
  return fieldRefused(field, problem, { code: 'UNSUPPORTED_MEDIA_TYPE', ...more })
}
