const mebibyte = 2 ** 20

/**
 * What checking one medium may cost. The largest media that are allowed stay well below: a 40
 * megapixel interlaced 16-bit PNG takes 2.5 s and 0.4 GB, five minutes of MP3 take 2 s and 40 MB.
 * Not part of the timings: these bound work, they are not waits.
 */
export const checkBounds = {
  /** From the spawn of a checker to its first word. */
  checkerStartMs: 40_000,
  /** For what hangs. CPU time bounds the work; by the wall, a busy machine would refuse sound media. */
  imageWallMs: 40_000,
  audioWallMs: 60_000,
  /** Of a checker over its whole life; it is replaced long before, so that one check has 20 s at least. */
  checkerCpuSeconds: 30,
  checkerWornCpuSeconds: 10,
  checkerWornChecks: 200,
  checkerWornRssBytes: 320 * mebibyte,
  /** V8 maps 0.65 GB of it before the first image, and hardly touches that. */
  checkerMemoryBytes: 1_536 * mebibyte,
  decoderCpuSeconds: 10,
  decoderMemoryBytes: 512 * mebibyte,
  /** Five minutes of 48 kHz stereo are 55 MB. */
  fileBytes: 64 * mebibyte,
} as const

export type CheckBounds = { readonly [Name in keyof typeof checkBounds]: number }
