import { failureCodes } from '@avatar/contracts'
import { z } from 'zod'

/** The limits of the API that an image must keep to. */
export type ImageBounds = {
  readonly minSidePixels: number
  readonly maxSidePixels: number
  readonly maxPixels: number
  /** The longest side of the normalised image; a larger one is scaled down. */
  readonly longestSidePixels: number
}

/** A request to a checker, one at a time. `out` is the file to write. */
export type CheckerRequest =
  | { op: 'normaliseImage'; path: string; out: string; bounds: ImageBounds }
  | { op: 'normalisePcmWav'; path: string; out: string; maxSeconds: number }
  | { op: 'detectFormat'; path: string }

const writtenSchema = { bytes: z.int().positive(), sha256: z.string().length(64) }

export const normalisedImageSchema = z.object({
  ...writtenSchema,
  width: z.int().positive(),
  height: z.int().positive(),
  /** Its format, the same as the upload's. */
  extension: z.enum(['png', 'jpg']),
})
export type NormalisedImage = z.infer<typeof normalisedImageSchema>

const normalisedWavSchema = z.object({
  ...writtenSchema,
  /** Per channel. */
  samples: z.int().nonnegative(),
  sampleRate: z.int().positive(),
  /** Half the distance from the lowest to the highest sample, 1 being full scale. A constant offset is silence. */
  peak: z.number().min(0).max(1),
})
export type NormalisedWav = z.infer<typeof normalisedWavSchema>

/** Null for a WAV file that is not plain and needs a decoder. */
export const plainWavSchema = normalisedWavSchema.nullable()

/** The media type by content, null for an unknown one. */
export const detectedFormatSchema = z.string().nullable()

const usageSchema = z.object({ cpuSeconds: z.number(), rssBytes: z.number() })

/**
 * What a checker sends: `ready` once, then one answer for each request. `refused` blames the medium,
 * `failed` blames us. It is validated like any other input, because the sender has decoded hostile
 * bytes.
 */
export const checkerReplySchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('ready') }),
  z.object({ kind: z.literal('done'), value: z.unknown(), usage: usageSchema }),
  z.object({
    kind: z.literal('refused'),
    code: z.enum(failureCodes),
    details: z.record(z.string(), z.unknown()),
    reason: z.string().optional(),
    usage: usageSchema,
  }),
  z.object({
    kind: z.literal('failed'),
    errno: z.string().optional(),
    reason: z.string(),
    usage: usageSchema,
  }),
])
export type CheckerReply = z.infer<typeof checkerReplySchema>
export type Answer = Exclude<CheckerReply, { kind: 'ready' }>
