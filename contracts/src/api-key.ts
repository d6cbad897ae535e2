import { z } from 'zod'
import { ownerSchema } from './job.ts'

/**
 * The form of an API key: a prefix that secret scanners find, a public id to look it up by, 32 random
 * base62 characters (190 bits), and a CRC32 that catches typos without a look-up. It follows GitHub's
 * token format (github.blog, 5 April 2021).
 */
export const apiKeyPattern = /^ava_live_([0-9A-Za-z]{12})_([0-9A-Za-z]{32})([0-9A-Za-z]{6})$/

/** One secret of a key. Only its hash is stored; plain SHA-256 is enough for 190 random bits. */
const secretSchema = z.object({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** The last four characters, so that people can tell keys apart. */
  lastFour: z.string().length(4),
  createdAtMs: z.int(),
  /** Set on the older secret of a rotated key, which works until then. */
  notAfterMs: z.int().optional(),
})

/** The record behind an API key: KV `apikey`, under the key's public id. */
export const apiKeyRecordSchema = z.object({
  publicId: z.string().regex(/^[0-9A-Za-z]{12}$/),
  owner: ownerSchema,
  name: z.string().min(1).max(100),
  createdAtMs: z.int(),
  revokedAtMs: z.int().optional(),
  /** Newest first; there are two during a rotation. */
  secrets: z.array(secretSchema).min(1).max(2),
})

export type ApiKeyRecord = z.infer<typeof apiKeyRecordSchema>
