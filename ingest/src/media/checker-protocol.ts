import { failureCodes, warningSchema } from '@avatar/contracts'
import { z } from 'zod'
import type { Span } from './gate-wav.ts'
import type { SoundLevels } from './sound-meter.ts'

/** The limits of the API that an image must keep to. */
export type ImageBounds = {
  readonly minSidePixels: number
  readonly maxSidePixels: number
  readonly maxPixels: number
  /** The longest side of the normalised image; a larger one is scaled down. */
  readonly longestSidePixels: number
  /** What shows through transparent pixels. */
  readonly background: string
}

/** A request to a checker, one at a time. `out` is the file to write. */
export type CheckerRequest =
  | { op: 'normaliseImage'; path: string; out: string; bounds: ImageBounds }
  | { op: 'normalisePcmWav'; path: string; out: string; maxSeconds: number; levels: SoundLevels }
  | { op: 'repairWav'; path: string; offset: number; out: string }
  | { op: 'locateAudio'; path: string }
  | { op: 'measureMp3'; path: string; offset: number }
  | { op: 'gateWav'; path: string; out: string; spans: readonly Span[] }

const writtenSchema = { bytes: z.int().positive(), sha256: z.string().length(64) }

/** What `gateWav` wrote. */
export const gatedWavSchema = z.object(writtenSchema)

export const normalisedImageSchema = z.object({
  ...writtenSchema,
  width: z.int().positive(),
  height: z.int().positive(),
  /** Its format, the same as the upload's. */
  extension: z.enum(['png', 'jpg']),
  warnings: z.array(warningSchema),
})
export type NormalisedImage = z.infer<typeof normalisedImageSchema>

const normalisedWavSchema = z.object({
  ...writtenSchema,
  /** Per channel. */
  samples: z.int().nonnegative(),
  sampleRate: z.int().positive(),
  // See `SoundMeasures`.
  peak: z.number().min(0).max(1),
  soundSeconds: z.number().nonnegative(),
  audibleSeconds: z.number().nonnegative(),
  cancelledSeconds: z.number().nonnegative(),
})
export type NormalisedWav = z.infer<typeof normalisedWavSchema>

/** Null for a WAV file that is not plain and needs a decoder. */
export const plainWavSchema = normalisedWavSchema.nullable()

/** What `repairWav` found in a WAV file. */
export const wavReportSchema = z.object({
  formatTag: z.int(),
  channels: z.int(),
  channelMask: z.int(),
  sampleRate: z.int(),
  bits: z.int(),
  blockBytes: z.int(),
  /** How many recordings stand one behind the other. */
  parts: z.int(),
  /** Where each begins, if their formats differ and they cannot simply be joined. */
  differing: z.array(z.int()).optional(),
  /** Whether `out` holds the sound now. */
  isWritten: z.boolean(),
  /** What headers claim and the file does not hold, and what it holds behind its sound. */
  missingSeconds: z.number(),
  straySeconds: z.number(),
  /** Samples that are no sound and became silence, and the factor for the others. */
  badSamples: z.int(),
  scale: z.number(),
})
export type WavReport = z.infer<typeof wavReportSchema>

const audioVariants = [
  ...(['layer-1', 'layer-2', 'free-format'] as const),
  ...(['rifx', 'wave64', 'au', 'raw-pcm', 'base64', 'text'] as const),
] as const

/** Where the sound of a file begins, and what stands in front of it; or what the file is instead. */
export const audioLocationSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.enum(['wav', 'mp3']), offset: z.int(), junkBytes: z.int() }),
  z.object({
    kind: z.literal('other'),
    /** A media type, or `unknown`. */
    found: z.string(),
    /** The usual extension of files of that type. */
    extension: z.string().optional(),
    variant: z.enum(audioVariants).optional(),
  }),
])
export type AudioLocation = z.infer<typeof audioLocationSchema>

/** What the frames of an MP3 file tell. */
export const mp3ReportSchema = z.object({
  /** Its recordings, one behind the other. Null: the header makes no claim. */
  parts: z.array(z.object({ claimedSeconds: z.number().nullable(), seconds: z.number() })),
  /** Where a WAV file begins that somebody glued behind the frames. */
  wavAt: z.int().optional(),
  /** About how much sound the bytes between frames once were. */
  lostSeconds: z.number(),
})
export type Mp3Report = z.infer<typeof mp3ReportSchema>

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
    /** For the caller, in place of the summary of the code. */
    explanation: z.string().optional(),
    reason: z.string().optional(),
    isOfDecoder: z.boolean(),
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
