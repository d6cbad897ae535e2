import { z } from 'zod'
import type { JobRecord } from './job.ts'
import { type Quality, qualities, qualitySchema, usualQuality } from './render-options.ts'

/** A quality that a worker renders, and how fast. */
export const offeredQualitySchema = z
  .object({ quality: qualitySchema, secondsPerVideoSecond: z.number().positive() })
  .meta({ title: 'OfferedQuality' })

/** What a worker can do. One of an earlier version tells nothing. */
export const offersSchema = z
  .object({
    qualities: z.array(offeredQualitySchema).min(1).max(qualities.length),
    /** How many speakers in one video. */
    speakers: z.int().min(1).max(2),
    /** Whether it dubs a source video. */
    video: z.boolean(),
  })
  .meta({ title: 'Offers' })
export type Offers = z.infer<typeof offersSchema>

/** What a job needs of a worker, and nothing else of it. */
export type Needs = {
  readonly quality: Quality
  readonly speakers: number
  readonly video: boolean
  /** It has fields that workers of an earlier version do not know. */
  readonly isNew: boolean
}

/** The needs of a job that asks for nothing. */
export const plainNeeds: Needs = { quality: usualQuality, speakers: 1, video: false, isNew: false }

/** The few that there are: jobs with the same needs share one object. */
const known = new Map<string, Needs>()

/** What a job needs, by its record. Equal needs are the same object. */
export function needsOf({
  how,
  voices,
  source,
}: Pick<JobRecord, 'how' | 'voices' | 'source'>): Needs {
  if (!how && !voices && !source) return plainNeeds
  return needsFor(how?.quality, voices?.length ?? 1, source !== undefined)
}

/** The needs of a job that asks for anything at all. Equal needs are the same object. */
export function needsFor(quality: Quality | undefined, speakers: number, video: boolean): Needs {
  const needs: Needs = { quality: quality ?? usualQuality, speakers, video, isNew: true }
  const key = JSON.stringify(needs)
  const same = known.get(key) ?? needs
  known.set(key, same)
  return same
}

/** Whether a worker with these offers can do such a job. */
export function canDo(offers: Offers | undefined, needs: Needs): boolean {
  if (!offers) return !needs.isNew
  return (
    offers.qualities.some(({ quality }) => quality === needs.quality) &&
    offers.speakers >= needs.speakers &&
    (offers.video || !needs.video)
  )
}

/** How much a worker can do: whoever can do less is given what it can do first. */
export function breadthOf(offers: Offers | undefined): number {
  return offers ? offers.qualities.length + offers.speakers + Number(offers.video) : 0
}

/** Two workers with the same key can do the same jobs. */
export function offersKey(offers: Offers | undefined): string {
  if (!offers) return ''
  const named = offers.qualities.map(({ quality }) => quality).toSorted()
  return [...named, offers.speakers, offers.video].join(' ')
}

/** The seconds of GPU time per second of video at a quality, as the worker announced it. */
export function announcedPace(
  worker: { offers?: Offers | undefined; secondsPerVideoSecond?: number | null | undefined },
  quality: Quality,
): number | undefined {
  const offered = worker.offers?.qualities.find((each) => each.quality === quality)
  return offered?.secondsPerVideoSecond ?? worker.secondsPerVideoSecond ?? undefined
}
