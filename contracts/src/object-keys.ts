import { z } from 'zod'
import { serviceUsers } from './users.ts'

/**
 * A publisher's name is a subject token, a folder and a user of the broker: short, lower case, no
 * dots, and not the name of a service.
 */
export const publisherNameSchema = z
  .string()
  .regex(/^[a-z][a-z0-9-]{1,31}$/, 'a name of 2 to 32 characters: a-z, 0-9 and "-", a letter first')
  .refine((name) => !(serviceUsers as readonly string[]).includes(name), 'the name of a service')

const objectPathPattern = /^[A-Za-z0-9_.-]+(\/[A-Za-z0-9_.-]+)*$/

/** Everything a job owns lies under this prefix, so that deleting the prefix deletes the job's media. */
export function jobPrefix(jobId: string): string {
  return `jobs/${jobId}/`
}

/**
 * Where one input of a job lies. The nonce belongs to one admission: a replay, or another payload
 * under the same Idempotency-Key, never touches the inputs that the record names.
 */
export function inputKey(jobId: string, nonce: string, sha256: string, extension: string): string {
  return `${jobPrefix(jobId)}input/${nonce}-${sha256}.${extension}`
}

/** Where one attempt stores its video. The epoch keeps a zombie out of another attempt's output. */
export function outputKey(jobId: string, epoch: number): string {
  return `${jobPrefix(jobId)}out/${epoch}/video.mp4`
}

/** The folder a publisher may write to. */
export function intakePrefix(publisher: string): string {
  return `intake/${publisher}/`
}

/** The id of the job an object belongs to, or undefined if it is not a job's object. */
export function jobIdOfKey(key: string): string | undefined {
  return /^jobs\/([0-9a-f-]{36})\/./.exec(key)?.[1]
}

/**
 * Whether a key names an object inside the publisher's own folder. Dot segments are refused: some
 * S3 servers map keys onto paths.
 */
export function isIntakeKeyOf(publisher: string, key: string): boolean {
  if (!key.startsWith(intakePrefix(publisher)) || !objectPathPattern.test(key)) return false
  return !key.split('/').some((segment) => segment === '.' || segment === '..')
}
