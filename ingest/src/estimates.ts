import {
  type Beat,
  canDo,
  estimateRender,
  framesPerSecond,
  type HeldJob,
  isPaceOf,
  isTerminal,
  type JobRecord,
  type Needs,
  needsOf,
  type Pace,
  type PaceKey,
  paceKeyOf,
  plainNeeds,
  renderSecondsAt,
  startsInCapped,
  startsInSeconds,
} from '@avatar/contracts'
import type { Paces } from '@avatar/job-kit'
import type { Board, RenderUnderWay } from './board.ts'
import { arrivalsInSeconds, readyAtMs, type ScaleView } from './scale-view.ts'
import type { Workers } from './workers.ts'

/** The preview engine's pace, rounded up: for a system in which nothing was ever rendered. */
const assumedSecondsPerVideoSecond = 2

/** What a worker says of a job whose last frame is not made yet. */
const beforeEnd: ReadonlySet<HeldJob['stage']> = new Set(['fetching', 'ready', 'rendering'])

/** How long renders take, and when jobs will be done. */
export type Estimates = ReturnType<typeof createEstimates>

export function createEstimates(deps: {
  board: Pick<Board, 'rendersUnderWay' | 'jobsAhead' | 'heldBackOf'>
  workers: Pick<Workers, 'alive' | 'heldOf'>
  paces: Pick<Paces, 'ofRenders' | 'startSecondsOf'>
  scale?: Pick<ScaleView, 'scaled' | 'open'>
  /** How many jobs of an owner may render at once; undefined for as many as there are workers. */
  rendersAtOnceOf?: (owner: string) => number | undefined
}) {
  const { board, workers, paces, rendersAtOnceOf = () => undefined } = deps
  const scale = deps.scale ?? { scaled: () => undefined, open: () => [] }

  /** The workers that take jobs, now or once their engine is loaded. */
  const serving = () =>
    workers.alive().filter(({ beat }) => beat.state !== 'draining' && !beat.trouble)

  function latestPace({ quality }: Needs = plainNeeds): Pace | undefined {
    let latest: Pace | undefined
    // Cold starts are kept in the same bucket.
    for (const [key, pace] of paces.ofRenders())
      if ('weight' in pace && isPaceOf(key, quality) && pace.atMs >= (latest?.atMs ?? 0))
        latest = pace
    return latest
  }

  /** From the end of a render until its job is completed. */
  function storingSeconds(paceKey?: PaceKey): number {
    const own = paceKey && paces.ofRenders().get(paceKeyOf(paceKey))
    return (own ?? latestPace())?.storingSeconds ?? 0
  }

  /** How long a render still takes; before its start, all of its estimate. */
  function remainingSeconds(render: Omit<RenderUnderWay, 'owner'>, nowMs: number): number {
    const { jobId, epoch, state, estimatedSeconds, startedAtMs } = render
    if (state !== 'rendering' || startedAtMs === undefined) return estimatedSeconds
    const elapsedSeconds = Math.max(0, nowMs - startedAtMs) / 1000
    const planned = Math.max(0, estimatedSeconds - elapsedSeconds)
    const held = workers.heldOf(jobId, epoch)
    if (!held) return planned
    const { percent, remainingSeconds: told, seenMsAgo } = held
    const seenSecondsAgo = seenMsAgo / 1000
    const thenElapsed = Math.max(0, elapsedSeconds - seenSecondsAgo)
    // Workers of an earlier version tell their progress alone.
    const thenLeft = told ?? (percent > 0 ? (thenElapsed * (100 - percent)) / percent : planned)
    // The engine's own plan may differ from what was learned. Going over to what the worker says
    // bit by bit, the estimate never jumps.
    const trustInWorker = Math.min(1, percent / 50)
    const left = Math.max(0, thenLeft - seenSecondsAgo)
    return trustInWorker * left + (1 - trustInWorker) * planned
  }

  /** Of a job whose render has begun. In the past once the render is over. */
  function renderEndsMs(job: JobRecord, nowMs: number): number {
    const held = workers.heldOf(job.jobId, job.epoch)
    if (held && !beforeEnd.has(held.stage))
      return (job.startedAtMs ?? nowMs) + held.renderedForSeconds * 1000
    return job.state === 'storing' ? 0 : nowMs + remainingSeconds(job, nowMs) * 1000
  }

  /** What workers have in hand: until when each is busy, and what is in nobody's hands that is heard. */
  function inHand(nowMs: number) {
    const freeInSeconds = new Map(
      serving().map((one) => [one.beat.workerId, loadingSeconds(one, paces, scale, nowMs)]),
    )
    const orphaned: number[] = []
    const renders = board.rendersUnderWay().map((render) => {
      const seconds = remainingSeconds(render, nowMs)
      const busy = freeInSeconds.get(render.workerId ?? '')
      if (busy === undefined) orphaned.push(seconds)
      else freeInSeconds.set(render.workerId ?? '', busy + seconds)
      return { ...render, seconds }
    })
    return { freeInSeconds, orphaned, renders }
  }

  /** Undefined when no worker takes jobs. */
  function waitSeconds(job: JobRecord, nowMs: number): number | undefined {
    const { freeInSeconds, orphaned, renders } = inHand(nowMs)
    const { first, rest } = board.jobsAhead(job)
    const seconds = [...orphaned, ...first.map((each) => each.seconds)]
    const heard = new Set(freeInSeconds.keys())
    const needs = needsOf(job)
    const able = serving().filter(({ beat }) => mayDo(beat, needs))
    const free = [
      ...able.flatMap(({ beat }) => freeInSeconds.get(beat.workerId) ?? []),
      ...arrivalsInSeconds(scale, heard, nowMs),
    ]
    const startsIn = startsInSeconds(free, { seconds, restSeconds: rest.seconds })
    const cap = rendersAtOnceOf(job.owner)
    if (startsIn === undefined || cap === undefined) return startsIn
    const own = <T extends { owner: string }>(all: readonly T[]) =>
      all.filter(({ owner }) => owner === job.owner)
    const allowedIn = startsInCapped({
      // A claimed job is the last that its worker has in hand.
      freeInSeconds: own(renders).map(({ state, workerId = '', ...render }) =>
        state === 'claimed' ? (freeInSeconds.get(workerId) ?? render.seconds) : render.seconds,
      ),
      ahead: { seconds: own(first).map((each) => each.seconds), restSeconds: 0 },
      cap,
    })
    return Math.max(startsIn, allowedIn)
  }

  /** How long the worker of a claimed job still renders another one. */
  function busySeconds({ worker }: JobRecord, nowMs: number): number {
    return board
      .rendersUnderWay()
      .filter(({ state, workerId }) => state === 'rendering' && workerId === worker?.id)
      .reduce((sum, render) => sum + remainingSeconds(render, nowMs), 0)
  }

  return {
    /**
     * The seconds of GPU time that a render takes on the fastest worker that can do it; with none, at the
     * pace seen last.
     */
    renderSeconds(frames: number, needs: Needs = plainNeeds): number {
      const able = serving().filter(({ beat }) => mayDo(beat, needs))
      const told = able.flatMap(
        ({ beat }) =>
          estimateRender(frames, beat, paces.ofRenders(), framesPerSecond, needs.quality) ?? [],
      )
      if (told.length > 0) return Math.min(...told)
      const pace = latestPace(needs) ?? latestPace()
      return pace
        ? renderSecondsAt(pace, frames)
        : (frames / framesPerSecond) * assumedSecondsPerVideoSecond
    },

    /**
     * When a job is completed, or has ended. Undefined for one being cancelled, for one that waits while
     * no worker takes jobs, and for one whose owner's budget is spent.
     */
    completesAtMs(job: JobRecord, nowMs: number): number | undefined {
      if (isTerminal(job)) return job.finishedAtMs
      const worker = workers.alive().find(({ beat }) => beat.workerId === job.worker?.id)
      const storingMs = storingSeconds(worker?.beat.paceKey) * 1000
      const renderMs = job.estimatedSeconds * 1000
      switch (job.state) {
        case 'cancelling':
          return undefined
        case 'rendering':
        case 'storing':
          return Math.max(nowMs, renderEndsMs(job, nowMs) + storingMs)
        case 'claimed':
          return nowMs + busySeconds(job, nowMs) * 1000 + renderMs + storingMs
        default: {
          if (board.heldBackOf(job.owner) === 'budget') return undefined
          const wait = waitSeconds(job, nowMs)
          if (wait === undefined) return undefined
          return Math.max(nowMs + wait * 1000, job.notBeforeMs ?? 0) + renderMs + storingMs
        }
      }
    },
  }
}

/** Whether a worker can do such a job. One that still loads has not told what it can do. */
export function mayDo(
  { state, offers, engineFacts }: Pick<Beat, 'state' | 'offers' | 'engineFacts'>,
  needs: Needs,
): boolean {
  return canDo(offers, needs) || (state === 'loading' && !offers && !engineFacts)
}

/** What is left of a worker's cold start, by what its pool has taken so far. */
function loadingSeconds(
  { beat, seenMsAgo }: { beat: Beat; seenMsAgo: number },
  paces: Pick<Paces, 'startSecondsOf'>,
  scale: Pick<ScaleView, 'scaled' | 'open'>,
  nowMs: number,
): number {
  if (beat.state !== 'loading' || !beat.pool) return 0
  // A wake-up knows since when the worker was asked for, and its pool was learned from there on.
  const summary = scale.scaled()
  const wake = scale.open().find(({ workerId }) => workerId === beat.workerId)
  if (summary && wake) return Math.max(0, readyAtMs(wake, summary) - nowMs) / 1000
  const loadedFor = (beat.time?.loadingSeconds ?? 0) + seenMsAgo / 1000
  return Math.max(0, (paces.startSecondsOf(beat.pool) ?? 0) - loadedFor)
}
