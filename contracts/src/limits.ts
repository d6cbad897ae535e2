import type { Aspect } from './render-options.ts'

const mebibyte = 2 ** 20

type Size = { width: number; height: number }

/** What the API accepts, in the units of the names. The documentation's 1 MB is 2^20 bytes. */
export const limits = {
  imageMaxBytes: 10 * mebibyte,
  imageMinSidePixels: 128,
  imageMaxSidePixels: 8192,
  imageMaxPixels: 40_000_000,
  /** The longest side of the normalised portrait. No delivered video shows more. */
  imageUsedSidePixels: 2_048,
  /** What shows through transparent pixels. */
  imageBackground: { name: 'white', colour: '#ffffff' },
  audioMaxBytes: 50 * mebibyte,
  audioMinSeconds: 0.2,
  audioShortSeconds: 1,
  audioMaxSeconds: 300,
  /** A peak below this is silence: −60 dBFS, as a share of full scale. */
  audioSilentPeak: 0.001,
  /** A recording needs this much that is louder than silence: a click is no voice. */
  audioMinSoundSeconds: 0.1,
  /** A voice that stays below this peak, −30 dBFS, is accepted with a warning. */
  audioQuietPeak: 0.0316,
  videoMaxBytes: 200 * mebibyte,
  videoMaxSeconds: 300,
  videoMinSidePixels: 128,
  videoMaxSidePixels: 4_096,
  /** How much the recording that drives the lips may differ from the delivered one. */
  voiceDifferenceMaxSeconds: 0.2,
  promptMaxCharacters: 2_000,
  idempotencyKeyMaxCharacters: 255,
  referenceMaxCharacters: 200,
  warningMaxCharacters: 400,
  warningsPerJob: 6,
  seedMax: 2 ** 31 - 1,
  /** Silence that a job may ask for before its sound, and after it. */
  silenceMaxSeconds: 5,
  expressiveness: { min: 0.5, max: 1.5 },
  /** Turns of speech in one job. */
  turnsMax: 200,
  /** A video and two recordings, the fields, and the multipart framing around them. */
  bodyMaxBytes: 320 * mebibyte,
  /** Past a size limit, up to this much of the body is still read, so that the client gets to see the 413. */
  drainMaxBytes: 384 * mebibyte,
  pageMaxJobs: 100,
  messageMaxBytes: 64 * 1024,
  /** Submissions of one publisher that wait to be admitted. */
  waitingPerPublisher: 1_000,
  recordMaxBytes: 28 * 1024,
  /** Attempts that a record books one by one; older ones are added up in one. */
  attemptsBooked: 24,
  /** Jobs that one worker holds at most, because its heartbeat names each of them. */
  beatMaxJobs: 64,
  sseStreamsPerOwner: 16,
  /** Objects that one deletion names. A job has two inputs, and a video for each attempt that stored one. */
  deletedObjectsNamed: 100,
} as const

/** Frames per second of every delivered video. */
export const framesPerSecond = 25

/** The sizes that videos are delivered in, by the aspect that a job may ask for. */
export const deliveryBuckets = [
  { aspect: '16:9', width: 1280, height: 720 },
  { aspect: '9:16', width: 720, height: 1280 },
  { aspect: '1:1', width: 960, height: 960 },
  { aspect: '5:4', width: 1120, height: 896 },
  { aspect: '4:5', width: 896, height: 1120 },
  { aspect: '3:2', width: 1152, height: 768 },
  { aspect: '2:3', width: 768, height: 1152 },
] as const satisfies readonly (Size & { aspect: Aspect })[]

/** How many attempts may end in each way before the job fails. */
export const attemptLimits = {
  /** The engine failed, or the stored video differs from the rendered one. */
  failures: 3,
  /** Lost while rendering, or the render process died. */
  deaths: 6,
  /** Lost between the claim and the first denoising step. */
  losses: 12,
} as const

/** How long a render may take, as a multiple of its estimate. */
export const deadlineFactor = 1.5

/** The shortest deadline of a render, unless RENDER_DEADLINE_MIN_SECONDS says otherwise. */
export const deadlineMinSeconds = 600

/** How many seconds a render may take: one and a half times the estimate, but at least the minimum. */
export function deadlineSecondsFor(estimatedSeconds: number, minDeadlineSeconds: number): number {
  return Math.max(minDeadlineSeconds, estimatedSeconds * deadlineFactor)
}

/** Among these the picture decides for a job that asks for no aspect, as it always has. */
const usualBuckets = deliveryBuckets.slice(0, 3)

/**
 * The delivery size of an aspect. For `auto` it is the one whose aspect ratio is nearest to the
 * picture's, on a logarithmic scale, so that 1:2 and 2:1 are equally far from 1:1. Without an aspect it
 * is the nearest of 16:9, 9:16 and 1:1.
 */
export function deliverySizeFor(picture: Size, asked?: Aspect): Size {
  const ratio = Math.log(picture.width / picture.height)
  const distance = (bucket: Size) => Math.abs(Math.log(bucket.width / bucket.height) - ratio)
  const named = deliveryBuckets.filter(({ aspect }) => aspect === asked)
  const offered = named.length > 0 ? named : asked === 'auto' ? deliveryBuckets : usualBuckets
  const sizes = offered.map(({ width, height }): Size => ({ width, height }))
  return sizes.reduce((best, size) => (distance(size) < distance(best) ? size : best))
}
