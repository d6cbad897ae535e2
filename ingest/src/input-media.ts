import { type FailureCode, limits } from '@avatar/contracts'

/** The two files of a submission: how large each may be, and the codes for one that is not there. */
export const inputMedia = {
  image: {
    maxBytes: limits.imageMaxBytes,
    tooLarge: 'IMAGE_TOO_LARGE',
    empty: 'IMAGE_UNREADABLE',
    missing: 'IMAGE_MISSING',
  },
  audio: {
    maxBytes: limits.audioMaxBytes,
    tooLarge: 'AUDIO_TOO_LARGE',
    empty: 'AUDIO_UNREADABLE',
    missing: 'AUDIO_MISSING',
  },
} as const satisfies Record<
  string,
  { maxBytes: number } & Record<'tooLarge' | 'empty' | 'missing', FailureCode>
>

/** One of the two on disk, as the client sent it, with its SHA-256. */
export type RawMedium = { path: string; sha256: string }

export type InputMedium = keyof typeof inputMedia
