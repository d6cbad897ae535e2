import { z } from 'zod'
import { announcedPace, type Offers } from './offers.ts'
import { type Quality, qualities, usualQuality } from './render-options.ts'
import type { PaceKey } from './requests.ts'

/**
 * What is known of the speed of an engine at one size on one device: KV `pace`, under the key that
 * `paceKeyOf` makes. Five sums of a weighted least-squares fit of render seconds over chunks; each
 * sample weakens the older ones.
 */
export const paceSchema = z.object({
  samples: z.int().nonnegative(),
  weight: z.number().nonnegative(),
  chunks: z.number().nonnegative(),
  seconds: z.number().nonnegative(),
  chunksSquared: z.number().nonnegative(),
  chunksSeconds: z.number().nonnegative(),
  framesPerChunk: z.int().positive(),
  /** From the end of a render until its job is completed. */
  storingSeconds: z.number().nonnegative(),
  /** The calibration of the worker that rendered last, by which another device's pace is scaled. */
  secondsPerVideoSecond: z.number().positive().optional(),
  atMs: z.int().nonnegative(),
})
export type Pace = z.infer<typeof paceSchema>

/** So many of a pool's cold starts are remembered: the newest decide once they are more than half. */
const startsRemembered = 9

/** How long a pool takes from the first sign of a worker until it is ready. */
export const startPaceSchema = z.object({
  samples: z.int().nonnegative(),
  /** What to expect of the next one: the median of `recent`. */
  seconds: z.number().nonnegative(),
  /** Its last starts, the newest at the end. An earlier version kept a mean alone. */
  recent: z.array(z.number().nonnegative()).max(startsRemembered).optional(),
})
export type StartPace = z.infer<typeof startPaceSchema>

/** One finished render. */
export type PaceSample = {
  frames: number
  /** The GPU time of the render. */
  seconds: number
  storingSeconds: number
  framesPerChunk: number
  secondsPerVideoSecond?: number | undefined
  atMs: number
}

/** How much of its weight an old sample keeps at each new one. */
const decay = 0.95
/** From so many samples on a new one is held against them. */
const trustedSamples = 5
/** A sample this many times slower or faster than expected is taken for this much: it is a hiccup. */
const clipFactor = 4

/** What a pace is kept under. A quality decides the size, and how much is computed at it. */
export type PaceName = Omit<PaceKey, 'framesPerChunk'> & { quality?: Quality | undefined }

/**
 * The key of KV `pace`; what a NATS token cannot have is replaced. Renders of the usual quality are kept
 * under their size, as they were before there were others.
 */
export function paceKeyOf({ engine, size, device, quality = usualQuality }: PaceName): string {
  const kind = quality === usualQuality ? size : quality
  return [engine, kind, device].map((word) => word.replace(/[^A-Za-z0-9_-]+/g, '_')).join('.')
}

/** The key of KV `pace` for the cold start of a pool. */
export function startPaceKeyOf(pool: string): string {
  return `start.${pool}`
}

/** The pace after one more render. */
export function learnPace(known: Pace | undefined, sample: PaceSample): Pace {
  // Other chunks make other counts; an engine that changes them is learned anew.
  const old = known?.framesPerChunk === sample.framesPerChunk ? known : undefined
  const chunks = chunksOf(sample.frames, sample.framesPerChunk)
  const seconds = clipped(sample.seconds, old, sample.frames)
  const sum = (
    name: keyof Pace & ('weight' | 'chunks' | 'seconds' | 'chunksSquared' | 'chunksSeconds'),
    added: number,
  ) => (old?.[name] ?? 0) * decay + added
  return {
    samples: (old?.samples ?? 0) + 1,
    weight: sum('weight', 1),
    chunks: sum('chunks', chunks),
    seconds: sum('seconds', seconds),
    chunksSquared: sum('chunksSquared', chunks * chunks),
    chunksSeconds: sum('chunksSeconds', chunks * seconds),
    framesPerChunk: sample.framesPerChunk,
    storingSeconds: mean(old?.storingSeconds, clippedStoring(sample, old), decay),
    ...(sample.secondsPerVideoSecond === undefined
      ? {}
      : { secondsPerVideoSecond: sample.secondsPerVideoSecond }),
    atMs: sample.atMs,
  }
}

/**
 * The cold start after one more. The median and not a mean: a start that waited ten minutes for a GPU, or
 * found its image in a cache, says nothing about the next one.
 */
export function learnStart(known: StartPace | undefined, seconds: number): StartPace {
  const before = known && (known.recent ?? [known.seconds])
  const recent = [...(before ?? []), seconds].slice(-startsRemembered)
  return { samples: (known?.samples ?? 0) + 1, seconds: medianOf(recent), recent }
}

/** How many seconds a render of so many frames takes at this pace. */
export function renderSecondsAt(pace: Pace, frames: number): number {
  const { weight, chunks, seconds, chunksSquared, chunksSeconds } = pace
  const count = chunksOf(frames, pace.framesPerChunk)
  const spread = weight * chunksSquared - chunks * chunks
  // Of renders that were all equally long, only the slope can be told.
  const isSlopeAlone = spread <= 1e-6 * weight * chunksSquared
  const perChunk = isSlopeAlone
    ? seconds / chunks
    : (weight * chunksSeconds - chunks * seconds) / spread
  const fixed = isSlopeAlone ? 0 : (seconds - perChunk * chunks) / weight
  // Noise among few samples can tilt the line so far that a length would take less than nothing.
  return perChunk > 0 && fixed >= 0
    ? fixed + count * perChunk
    : count * Math.max(0, chunksSeconds / chunksSquared)
}

/** Whether a key of KV `pace` is of renders of this quality. */
export function isPaceOf(key: string, quality: Quality): boolean {
  const [, kind] = key.split('.')
  const named = qualities.find((each) => each !== usualQuality && each === kind)
  return (named ?? usualQuality) === quality
}

/**
 * How many seconds a render takes on a worker: by what was learned about its engine, size and device;
 * else by the same engine and size on another device, scaled by both workers' calibrations; else by
 * what it announced for the quality. Undefined when nothing is known.
 */
export function estimateRender(
  frames: number,
  worker: {
    paceKey?: PaceKey | undefined
    secondsPerVideoSecond?: number | null | undefined
    offers?: Offers | undefined
  },
  paces: ReadonlyMap<string, Pace>,
  framesPerSecond: number,
  quality: Quality = usualQuality,
): number | undefined {
  const { paceKey, secondsPerVideoSecond } = worker
  if (paceKey) {
    const own = paces.get(paceKeyOf({ ...paceKey, quality }))
    if (own) return renderSecondsAt(own, frames)
    const prefix = paceKeyOf({ ...paceKey, quality, device: '' })
    for (const [key, pace] of paces)
      if (key.startsWith(prefix) && pace.secondsPerVideoSecond && secondsPerVideoSecond)
        return (renderSecondsAt(pace, frames) * secondsPerVideoSecond) / pace.secondsPerVideoSecond
  }
  const announced = announcedPace(worker, quality)
  return announced ? (frames / framesPerSecond) * announced : undefined
}

function chunksOf(frames: number, framesPerChunk: number): number {
  return Math.ceil(frames / framesPerChunk)
}

function clipped(seconds: number, known: Pace | undefined, frames: number): number {
  if (!known || known.samples < trustedSamples) return seconds
  const expected = renderSecondsAt(known, frames)
  return Math.min(expected * clipFactor, Math.max(expected / clipFactor, seconds))
}

/** A store that was away for an hour says nothing about the next job. */
function clippedStoring({ storingSeconds }: PaceSample, known: Pace | undefined): number {
  if (!known || known.samples < trustedSamples) return storingSeconds
  return Math.min(storingSeconds, clipFactor * Math.max(1, known.storingSeconds))
}

/** Of an even number the mean of the two in the middle. */
function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const [low = 0, high = low] = [
    sorted[Math.ceil(sorted.length / 2) - 1],
    sorted[Math.floor(sorted.length / 2)],
  ]
  return (low + high) / 2
}

function mean(old: number | undefined, next: number, kept: number): number {
  return old === undefined ? next : old * kept + next * (1 - kept)
}
