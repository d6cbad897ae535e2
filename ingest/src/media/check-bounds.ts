const mebibyte = 2 ** 20

/**
 * What checking one medium may cost. The largest media that are allowed stay well below: a 40
 * megapixel interlaced 16-bit PNG takes 2.5 s and 0.4 GB, five minutes of MP3 take 2 s and 40 MB.
 * They are not among the timings, because they bound work and must not shrink in tests.
 */
export const checkBounds = {
  /** From spawning a checker until it reports ready. */
  checkerStartMs: 40_000,
  /** Wall-clock limits are for hangs alone: on a busy machine, tight ones would refuse intact media. */
  imageWallMs: 40_000,
  audioWallMs: 60_000,
  /** For the whole life of a checker. It is replaced at a third of it, so that each check has at least 20 s. */
  checkerCpuSeconds: 30,
  checkerWornCpuSeconds: 10,
  /** A new process costs as much as fifteen checks. The other two bounds find one that leaks. */
  checkerWornChecks: 1_000,
  checkerWornRssBytes: 320 * mebibyte,
  /** V8 maps 0.65 GB before the first image and touches little of that. */
  checkerMemoryBytes: 1_536 * mebibyte,
  decoderCpuSeconds: 10,
  decoderMemoryBytes: 512 * mebibyte,
  /** Five minutes of 48 kHz stereo are 55 MB. */
  fileBytes: 64 * mebibyte,
  /**
   * Six seconds of 4K at 45 Mbit/s took 14 s of a slow core's time, five minutes so 700 s at most: at 200 MB they
   * have a ninth of its bits. The result is at most 230 MB.
   */
  videoCpuSeconds: 900,
  videoWallMs: 500_000,
  videoMemoryBytes: 2_048 * mebibyte,
  videoFileBytes: 320 * mebibyte,
} as const

export type CheckBounds = { readonly [Name in keyof typeof checkBounds]: number }
