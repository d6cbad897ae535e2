import { type FailureCode, limits } from '@avatar/contracts'

const recording = {
  maxBytes: limits.audioMaxBytes,
  tooLarge: 'AUDIO_TOO_LARGE',
  empty: 'AUDIO_UNREADABLE',
} as const

/** The files of a submission: how large each may be, and the codes for one that is not there. */
export const inputMedia = {
  image: {
    maxBytes: limits.imageMaxBytes,
    tooLarge: 'IMAGE_TOO_LARGE',
    empty: 'IMAGE_UNREADABLE',
    missing: 'IMAGE_MISSING',
  },
  /** Instead of an image. */
  video: {
    maxBytes: limits.videoMaxBytes,
    tooLarge: 'VIDEO_TOO_LARGE',
    empty: 'VIDEO_UNREADABLE',
    missing: 'IMAGE_MISSING',
  },
  audio: { ...recording, missing: 'AUDIO_MISSING' },
  /** The second speaker's. */
  audio2: { ...recording, missing: 'AUDIO_MISSING' },
  /** What drives the lips while `audio` is delivered. */
  voice: { ...recording, missing: 'AUDIO_MISSING' },
} as const satisfies Record<
  string,
  { maxBytes: number } & Record<'tooLarge' | 'empty' | 'missing', FailureCode>
>

/** One of them on disk, as the client sent it, with its SHA-256. */
export type RawMedium = { path: string; sha256: string }

export type InputMedium = keyof typeof inputMedia

/** All that came with a submission: a picture of one kind, and the recordings. */
export type RawMedia = {
  image?: RawMedium | undefined
  video?: RawMedium | undefined
  audio: RawMedium
  audio2?: RawMedium | undefined
  voice?: RawMedium | undefined
}
