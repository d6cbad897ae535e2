import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { limits, type SubmissionFields, submissionFieldsSchema } from '@avatar/contracts'
import { AppError } from '@avatar/service-kit'
import type { MultipartFile } from '@fastify/multipart'
import type { FastifyRequest } from 'fastify'
import { boundBody } from './bounded-body.ts'
import { type InputMedium, inputMedia, type RawMedium } from './input-media.ts'

/** The raw inputs on disk, with the SHA-256 of what the client sent. */
export type Upload = {
  image: RawMedium
  audio: RawMedium
  fields: SubmissionFields
}

/**
 * Spools the parts of a multipart request into a folder. Whatever is wrong with the body, it is read
 * to its end, up to a bound: a client still sending would see a reset instead of the answer.
 *
 * @throws AppError for anything missing, too large, unknown or malformed
 */
export async function readUpload(request: FastifyRequest, folder: string): Promise<Upload> {
  if (!request.isMultipart()) throw new AppError('UNSUPPORTED_MEDIA_TYPE')
  const body = boundBody(request.raw, limits.drainMaxBytes, limits.bodyMaxBytes)
  try {
    const upload = await Promise.race([readParts(request, folder, body.signal), body.exceeded])
    if (body.bytes() > limits.bodyMaxBytes)
      throw new AppError('BODY_TOO_LARGE', { details: { max_bytes: limits.bodyMaxBytes } })
    return upload
  } catch (error) {
    await body.drain()
    // A client that hung up gets no answer, and its doing so must not count as a fault of ours.
    const hasHungUp = request.raw.destroyed && !request.raw.complete
    throw hasHungUp ? new AppError('MALFORMED_MULTIPART', { cause: error }) : error
  }
}

/** Checks each part, because the multipart library truncates files and fields silently. */
async function readParts(
  request: FastifyRequest,
  folder: string,
  signal: AbortSignal,
): Promise<Upload> {
  const files = new Map<InputMedium, RawMedium>()
  const fields: Record<string, string> = {}
  let fault: AppError | undefined
  for await (const part of request.parts()) {
    if (part.type === 'file') {
      const spooled = await spoolFile(part, folder, signal)
      if (spooled instanceof AppError) fault ??= spooled
      else if (files.has(spooled.medium)) fault ??= invalid(spooled.medium, 'sent twice')
      else files.set(spooled.medium, spooled)
    } else if (part.valueTruncated || part.fieldnameTruncated) {
      fault ??= invalid(part.fieldname.slice(0, 100), 'too long')
    } else if (part.fieldname in inputMedia) {
      fault ??= invalid(part.fieldname, 'send it as a file, with a file name')
    } else if (typeof part.value !== 'string') {
      fault ??= invalid(part.fieldname, 'send it as text') // The library parses parts of type JSON.
    } else if (part.fieldname in fields) fault ??= invalid(part.fieldname, 'sent twice')
    else fields[part.fieldname] = part.value
  }
  if (fault) throw fault
  const image = files.get('image')
  const audio = files.get('audio')
  if (!image) throw new AppError('IMAGE_MISSING')
  if (!audio) throw new AppError('AUDIO_MISSING')
  return { image, audio, fields: parseFields(fields) }
}

async function spoolFile(
  part: MultipartFile,
  folder: string,
  signal: AbortSignal,
): Promise<(RawMedium & { medium: InputMedium }) | AppError> {
  const medium =
    part.fieldname === 'image' || part.fieldname === 'audio' ? part.fieldname : undefined
  if (!medium) {
    part.file.resume()
    const name: string | undefined = part.fieldname // The library's type forgets a part without a name.
    return invalid((name ?? '').slice(0, 100), 'unknown file field')
  }
  const { maxBytes, tooLarge } = inputMedia[medium]
  const path = join(folder, medium)
  const hash = createHash('sha256')
  let bytes = 0
  const counting = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length
      if (bytes > maxBytes) return done() // Reads on and keeps nothing.
      hash.update(chunk)
      done(null, chunk)
    },
  })
  signal.throwIfAborted()
  await pipeline(part.file, counting, createWriteStream(path, { mode: 0o600 }), { signal })
  if (bytes > maxBytes)
    return new AppError(tooLarge, { details: { field: medium, max_bytes: maxBytes } })
  return { medium, path, sha256: hash.digest('hex') }
}

function parseFields(fields: Record<string, string>): SubmissionFields {
  const given = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ''))
  const parsed = submissionFieldsSchema.safeParse(given)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const field = issue?.path.join('.') || (issue && 'keys' in issue ? String(issue.keys) : 'body')
  throw invalid(field, issue?.message ?? 'not valid')
}

function invalid(field: string, problem: string): AppError {
  return new AppError('INVALID_REQUEST', { details: { field, problem } })
}
