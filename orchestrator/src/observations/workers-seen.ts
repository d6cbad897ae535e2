import type { Beat, StartStage, Timings } from '@avatar/contracts'

/** A worker that has not ended, as its latest heartbeat describes it. */
export type WorkerSeen = {
  beat: Beat & { state: Exclude<Beat['state'], 'gone'> }
  heardAtMs: number
  /** Since when its engine has been loading; undefined once it is loaded. */
  loadingSinceMs: number | undefined
  /** When the progress of its current render last moved; undefined without one. */
  movedAtMs: number | undefined
}

/** The workers as their heartbeats describe them. Pure: time is an argument, in monotonic ms. */
export type WorkersSeen = ReturnType<typeof createWorkersSeen>

/** A draining worker goes on speaking until it ends, so a few missing heartbeats tell that it has. */
const beatsUntilDrained = 2

export function createWorkersSeen(timings: Pick<Timings, 'beatEveryMs' | 'silentAfterMs'>) {
  const seen = new Map<string, WorkerSeen>()

  function isGone({ beat, heardAtMs }: WorkerSeen, nowMs: number): boolean {
    const drainedAfterMs = beatsUntilDrained * timings.beatEveryMs
    const isDraining = beat.state === 'draining'
    const mayBeSilentMs = isDraining
      ? Math.min(drainedAfterMs, timings.silentAfterMs)
      : timings.silentAfterMs
    return nowMs - heardAtMs > mayBeSilentMs
  }

  return {
    /** @returns the stages of a start that this heartbeat is the first to tell as complete */
    onBeat(beat: Beat, nowMs: number): readonly StartStage[] {
      const { workerId, state } = beat
      const before = seen.get(workerId)
      if (state === 'gone') {
        seen.delete(workerId)
        return []
      }
      seen.set(workerId, {
        beat: { ...beat, state },
        heardAtMs: nowMs,
        loadingSinceMs: state === 'loading' ? loadingSince(beat, before, nowMs) : undefined,
        movedAtMs: movedAt(beat, before, nowMs),
      })
      return isStartNew(beat, before) ? (beat.startup ?? []) : []
    },

    /** Those that have neither ended nor fallen silent. */
    alive(nowMs: number): WorkerSeen[] {
      for (const [id, worker] of seen) if (isGone(worker, nowMs)) seen.delete(id)
      return [...seen.values()]
    },
  }
}

function loadingSince(beat: Beat, before: WorkerSeen | undefined, nowMs: number): number {
  const isSameStart = before?.beat.incarnation === beat.incarnation
  return (
    (isSameStart ? before?.loadingSinceMs : undefined) ??
    nowMs - (beat.starting?.seconds ?? 0) * 1000
  )
}

/** The render that moves, and how far it is. */
function progressOf({ jobs }: Pick<Beat, 'jobs'>): string | undefined {
  const rendering = jobs.find(({ stage }) => stage === 'rendering')
  return rendering && `${rendering.jobId} ${rendering.epoch} ${rendering.percent}`
}

function movedAt(beat: Beat, before: WorkerSeen | undefined, nowMs: number): number | undefined {
  const progress = progressOf(beat)
  if (progress === undefined) return undefined
  const isSame = before !== undefined && progressOf(before.beat) === progress
  return (isSame ? before.movedAtMs : undefined) ?? nowMs
}

/**
 * Each life of a render process tells its start in every heartbeat from then on. Of a worker that was never
 * heard before, the start is new only if it has been of no use yet: otherwise it is we who have started.
 */
function isStartNew({ startup, incarnation, time }: Beat, before: WorkerSeen | undefined): boolean {
  if (!startup) return false
  if (before?.beat.incarnation !== incarnation)
    return before !== undefined || (time !== undefined && wasOfNoUse(time))
  return JSON.stringify(before.beat.startup) !== JSON.stringify(startup)
}

/** It may have been ready since the heartbeat before. */
const idleAtMostSeconds = 5

function wasOfNoUse({ idleSeconds, renderingSeconds }: NonNullable<Beat['time']>): boolean {
  return renderingSeconds === 0 && idleSeconds <= idleAtMostSeconds
}
