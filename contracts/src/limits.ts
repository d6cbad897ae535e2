const mebibyte = 2 ** 20

/** What the API accepts, in the units of the names. 1 MB of the documentation is 2^20 bytes. */
export const limits = {
  imageMaxBytes: 10 * mebibyte,
  imageMinSidePixels: 128,
  imageMaxSidePixels: 8192,
  imageMaxPixels: 40_000_000,
  audioMaxBytes: 50 * mebibyte,
  audioMinSeconds: 0.2,
  audioShortSeconds: 1,
  audioMaxSeconds: 300,
  /** A peak below this is silence. −60 dBFS of full scale. */
  audioSilentPeak: 0.001,
  promptMaxCharacters: 2_000,
  idempotencyKeyMaxCharacters: 255,
  referenceMaxCharacters: 200,
  seedMax: 2 ** 31 - 1,
  /** Both files, the fields and the multipart framing around them. */
  bodyMaxBytes: 62 * mebibyte,
  /** Past a size limit this much of the body is still drained, so that the client reads the 413. */
  drainMaxBytes: 256 * mebibyte,
  pageMaxJobs: 100,
  messageMaxBytes: 64 * 1024,
  /** Events of one publisher that wait to be admitted. */
  waitingPerPublisher: 1_000,
  recordMaxBytes: 16 * 1024,
  /** Jobs in the hands of one worker; it takes no more than its beat can name. */
  beatMaxJobs: 64,
  sseStreamsPerOwner: 16,
} as const

/** Frames a second of every delivered video. */
export const framesPerSecond = 25

/** What is delivered, by the aspect of the portrait. */
export const deliveryBuckets = [
  { name: 'landscape', width: 1280, height: 720 },
  { name: 'portrait', width: 720, height: 1280 },
  { name: 'square', width: 960, height: 960 },
] as const

/** How often each kind of trouble may befall a job before it fails. */
export const attemptLimits = {
  /** `failed` by the engine, or an upload that is not what was rendered. */
  failures: 3,
  /** Lost while rendering, the child's death included. */
  deaths: 6,
  /** Lost between the claim and the first forward. */
  losses: 12,
} as const

/** How long a render may take, in seconds: half as long again as estimated, and never too little. */
export function deadlineSecondsFor(estimatedSeconds: number, minDeadlineSeconds: number): number {
  return Math.max(minDeadlineSeconds, estimatedSeconds * 1.5)
}

/**
 * The delivery size whose aspect is nearest to the portrait's, compared on a logarithmic scale so
 * that 1:2 and 2:1 are equally far from 1:1.
 */
export function deliverySizeFor(portrait: { width: number; height: number }): {
  width: number
  height: number
} {
  const aspect = Math.log(portrait.width / portrait.height)
  const distance = (bucket: { width: number; height: number }) =>
    Math.abs(Math.log(bucket.width / bucket.height) - aspect)
  const [first, ...others] = deliveryBuckets
  let best: (typeof deliveryBuckets)[number] = first
  for (const bucket of others) if (distance(bucket) < distance(best)) best = bucket
  return { width: best.width, height: best.height }
}
