import {
  type Beat,
  beatSchema,
  estimateRender,
  framesPerSecond,
  type Needs,
  type NextRequest,
  type PaceKey,
  subjects,
} from '@avatar/contracts'
import { learnColdStart, type PaceRecords, type Paces } from '@avatar/job-kit'
import { type Foundation, type Runnable, subscription } from '@avatar/service-kit'

/** How fast each worker renders, by what was learned of its like. */
export type WorkerPaces = Runnable & {
  /** The expected GPU seconds of a render on the worker that asks. */
  renderSeconds(frames: number, needs: Needs, ask: WhoAsks): number
}

type WhoAsks = Pick<NextRequest, 'workerId' | 'incarnation' | 'secondsPerVideoSecond' | 'offers'>

/**
 * Hears from the heartbeats what each worker renders on, and learns how long their pools take to start.
 * A worker that was not heard yet is taken at its own word.
 */
export function followWorkerPaces(
  deps: Pick<Foundation, 'bus' | 'clock' | 'log' | 'timings'> & {
    records: PaceRecords
    paces: Pick<Paces, 'ofRenders'>
    /** The pool whose starts are learned from its wake-ups: they know when the worker was asked for. */
    scaledPoolName?: string | undefined
  },
): WorkerPaces {
  const { bus, clock, log, timings, records, paces, scaledPoolName } = deps
  const known = createKnownWorkers(timings.silentAfterMs)

  async function onBeat(beat: Beat) {
    const loadedInSeconds = known.onBeat(beat, clock.monotonicMs())
    if (loadedInSeconds === undefined || beat.pool === undefined) return
    if (beat.pool === scaledPoolName) return
    // A second orchestrator adds the same start. It then counts for two, which does no harm.
    await learnColdStart(records, beat.pool, loadedInSeconds).catch((error) =>
      log.warn({ err: error, workerId: beat.workerId }, 'nothing learned from this start'),
    )
  }

  return {
    ...subscription({ bus, subject: subjects.beat('*'), schema: beatSchema, handle: onBeat }),
    renderSeconds(frames, { quality }, { workerId, incarnation, secondsPerVideoSecond, offers }) {
      const paceKey = known.paceKeyOf(workerId, incarnation)
      const worker = { paceKey, secondsPerVideoSecond, offers }
      const learned = estimateRender(frames, worker, paces.ofRenders(), framesPerSecond, quality)
      return learned ?? (frames / framesPerSecond) * secondsPerVideoSecond
    },
  }
}

type Heard = {
  incarnation: string
  paceKey: PaceKey | undefined
  /** Its engine is loading for the first time. */
  isStarting: boolean
  heardAtMs: number
}

/** What the workers last said of themselves. Pure: time is an argument, in monotonic ms. */
export function createKnownWorkers(silentAfterMs: number) {
  const heard = new Map<string, Heard>()

  return {
    /** @returns how long the first loading of its engine took, at the first heartbeat after that */
    onBeat(beat: Beat, nowMs: number): number | undefined {
      const { workerId, incarnation, paceKey, time } = beat
      const before = heard.get(workerId)
      // Names may be new at each start, so the old ones must go.
      for (const [id, { heardAtMs }] of heard)
        if (nowMs - heardAtMs > silentAfterMs) heard.delete(id)
      const isLoading = beat.state === 'loading'
      // An engine that is loaded again, after its process died, was of use before.
      const isStarting = isLoading && time !== undefined && wasOfNoUse(time)
      heard.set(workerId, { incarnation, paceKey, isStarting, heardAtMs: nowMs })
      const hasStarted = before?.isStarting && before.incarnation === incarnation && !isLoading
      const isEnding = beat.state === 'draining' || beat.state === 'gone'
      return hasStarted && !isEnding ? time?.loadingSeconds : undefined
    },
    paceKeyOf(workerId: string, incarnation: string): PaceKey | undefined {
      const worker = heard.get(workerId)
      return worker?.incarnation === incarnation ? worker.paceKey : undefined
    },
  }
}

function wasOfNoUse({ idleSeconds, renderingSeconds }: NonNullable<Beat['time']>): boolean {
  return idleSeconds + renderingSeconds === 0
}
