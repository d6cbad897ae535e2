import { z } from 'zod'
import { serviceUsers } from './users.ts'

/**
 * A publisher's name is also a subject token, a folder and a user of the broker. So it is short, in
 * lower case, without dots, and not the name of a service.
 */
export const publisherNameSchema = z
  .string()
  .regex(/^[a-z][a-z0-9-]{1,31}$/, 'a name of 2 to 32 characters: a-z, 0-9 and "-", a letter first')
  .refine((name) => !(serviceUsers as readonly string[]).includes(name), 'the name of a service')

const objectPathPattern = /^[A-Za-z0-9_.-]+(\/[A-Za-z0-9_.-]+)*$/

/** Everything that a job owns lies under this prefix, so deleting the prefix deletes the job's media. */
export function jobPrefix(jobId: string): string {
  return `jobs/${jobId}/`
}

/**
 * Where one input of a job lies. The nonce belongs to one admission, so a repeated request, or another
 * payload under the same Idempotency-Key, never touches the inputs that the record names.
 */
export function inputKey(jobId: string, nonce: string, sha256: string, extension: string): string {
  return `${jobPrefix(jobId)}input/${nonce}-${sha256}.${extension}`
}

/** The videos of a job: of the attempt that made its result, and of those that stored theirs too late. */
export function outputPrefix(jobId: string): string {
  return `${jobPrefix(jobId)}out/`
}

/** Where one attempt stores its video. The epoch keeps a stale worker out of a later attempt's output. */
export function outputKey(jobId: string, epoch: number): string {
  return `${outputPrefix(jobId)}${epoch}/video.mp4`
}

/** The media type of every video, as it is stored and as its links answer. */
export const videoContentType = 'video/mp4'

/** The folder that a publisher may write to. */
export function intakePrefix(publisher: string): string {
  return `intake/${publisher}/`
}

/** The id of the job that an object belongs to; undefined when it belongs to none. */
export function jobIdOfKey(key: string): string | undefined {
  return /^jobs\/([0-9a-f-]{36})\/./.exec(key)?.[1]
}

/**
 * Whether a key names an object inside the publisher's own folder. Dot segments are refused, because
 * some S3 servers map keys to file paths.
 */
export function isIntakeKeyOf(publisher: string, key: string): boolean {
  if (!key.startsWith(intakePrefix(publisher)) || !objectPathPattern.test(key)) return false
  return !key.split('/').some((segment) => segment === '.' || segment === '..')
}
