import {
  buckets,
  learnPace,
  learnStart,
  type Pace,
  type PaceName,
  type PaceSample,
  paceKeyOf,
  paceSchema,
  type StartPace,
  startPaceKeyOf,
  startPaceSchema,
} from '@avatar/contracts'
import {
  type Bus,
  background,
  type Clock,
  type Log,
  logFailure,
  type RecordStore,
  type Runnable,
} from '@avatar/service-kit'
import { z } from 'zod'
import { mirror } from './mirror.ts'

/** What was learned: of renders, and of cold starts under keys of their own. */
export type PaceRecords = RecordStore<Pace | StartPace>

/** The learned speeds as of a moment ago. */
export type Paces = Runnable & {
  /** By `paceKeyOf`. */
  ofRenders(): ReadonlyMap<string, Pace>
  /** Seconds from the first sign of a worker of this pool until it is ready; undefined before the first. */
  startSecondsOf(pool: string): number | undefined
}

/** Opens the bucket of learned speeds. Provisioning has created it. */
export function openPaces(bus: Bus): Promise<PaceRecords> {
  return bus.records(buckets.pace, z.union([paceSchema, startPaceSchema]))
}

/** Follows what is learned. */
export function followPaces(options: { records: PaceRecords; clock: Clock; log: Log }): Paces {
  const values = mirror({ ...options, name: 'pace watch' })
  return {
    ...values,
    // What is no render's has another key.
    ofRenders: () => values.values() as ReadonlyMap<string, Pace>,
    startSecondsOf: (pool) => values.values().get(startPaceKeyOf(pool))?.seconds,
  }
}

/** A render is one sample of many: after so many conflicts it is left out. */
const learnTries = 3
/** Renders that end within this time are learned by one write: short ones end faster than they teach. */
const learnEveryMs = 1_000

/** Takes in finished renders, which count a moment later; a crash loses those of the last second. */
export type RenderLearner = Runnable & { note(key: PaceName, sample: PaceSample): void }

/** Learns from the renders that it is told of. `stop` learns from the last ones. */
export function renderLearner(options: {
  records: PaceRecords
  clock: Clock
  log: Log
}): RenderLearner {
  const { records } = options
  const waiting = new Map<string, PaceSample[]>()

  async function pass() {
    for (const [key, samples] of waiting) {
      waiting.delete(key)
      await learn(records, key, (known) =>
        samples.reduce<Pace | undefined>(learnPace, known as Pace | undefined),
      )
    }
  }

  const loop = background({ ...options, name: 'learning', everyMs: learnEveryMs, pass })
  return {
    ...loop,
    async stop() {
      await loop.stop()
      await pass().catch((error) => logFailure(options.log, error, 'last renders not learned'))
    },
    note(key, sample) {
      const samples = waiting.get(paceKeyOf(key)) ?? []
      samples.push(sample)
      waiting.set(paceKeyOf(key), samples)
    },
  }
}

/** Adds a cold start to what is known of its pool. @returns whether it was */
export function learnColdStart(
  records: PaceRecords,
  pool: string,
  seconds: number,
): Promise<boolean> {
  return learn(records, startPaceKeyOf(pool), (known) => learnStart(known, seconds))
}

async function learn(
  records: PaceRecords,
  key: string,
  after: (known: Pace | StartPace | undefined) => Pace | StartPace | undefined,
): Promise<boolean> {
  for (let tries = 0; tries < learnTries; tries++) {
    const found = await records.find(key)
    const value = after(found?.value)
    if (!value) return false
    const written = found
      ? await records.update(key, value, found.revision)
      : await records.create(key, value)
    if (typeof written === 'number') return true
  }
  return false
}
