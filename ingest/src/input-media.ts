import { type FailureCode, limits } from '@avatar/contracts'

/** The two files of a submission, how large each may be, and the code for one that is larger. */
export const inputMedia = {
  image: { maxBytes: limits.imageMaxBytes, tooLarge: 'IMAGE_TOO_LARGE' },
  audio: { maxBytes: limits.audioMaxBytes, tooLarge: 'AUDIO_TOO_LARGE' },
} as const satisfies Record<string, { maxBytes: number; tooLarge: FailureCode }>

/** One of the two on disk, as the client sent it, with its SHA-256. */
export type RawMedium = { path: string; sha256: string }

export type InputMedium = keyof typeof inputMedia
