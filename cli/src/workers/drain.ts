import { type Beat, timings } from '@avatar/contracts'

/**
 * How the wait for one worker ended. `gone`: it has left, or another process has taken its place. `lost`: it
 * fell silent. `deaf`: it was told and goes on; workers of an earlier version do not know the order.
 * `leaving`: it still finished its job when the waiting ended.
 */
export type Outcome = 'gone' | 'lost' | 'deaf' | 'leaving'

/** A worker told to leave, and how far it is. */
type Draining = { beat: Beat; heardAtMs: number; toldAtMs: number; outcome?: Outcome }

/** The worker named, or all of another release than this one; without either, all. */
export function chosenAmong(
  beats: readonly Beat[],
  id: string | undefined,
  release: string | undefined,
): Beat[] {
  if (id !== undefined) return beats.filter(({ workerId }) => workerId === id)
  return beats.filter((beat) => release === undefined || beat.release !== release)
}

/** Whom a drain is about, and for whom it still waits. Pure: time is an argument, in monotonic ms. */
export function createDrain(chosen: readonly Beat[], nowMs: number) {
  const workers = new Map(
    chosen.map((beat): [string, Draining] => [
      beat.workerId,
      { beat, heardAtMs: nowMs, toldAtMs: nowMs },
    ]),
  )
  const waiting = () => [...workers.values()].filter(({ outcome }) => outcome === undefined)

  return {
    /** @returns whether the worker is to be told again */
    onBeat(beat: Beat, nowMs: number): boolean {
      const worker = workers.get(beat.workerId)
      if (!worker || worker.outcome) return false
      const isAnother = worker.beat.incarnation !== beat.incarnation
      if (isAnother || beat.state === 'gone') {
        worker.outcome = 'gone'
        return false
      }
      worker.beat = beat
      worker.heardAtMs = nowMs
      return beat.state !== 'draining'
    },

    /** Gives up on those who are silent, or do not obey, for as long as a worker may be silent. */
    check(nowMs: number): void {
      for (const worker of waiting()) {
        if (nowMs - worker.heardAtMs > timings.silentAfterMs) worker.outcome = 'lost'
        else if (
          worker.beat.state !== 'draining' &&
          nowMs - worker.toldAtMs > timings.silentAfterMs
        )
          worker.outcome = 'deaf'
      }
    },

    /** Waits no longer: whoever finishes a job leaves after it. */
    giveUp(): void {
      for (const worker of waiting())
        worker.outcome = worker.beat.state === 'draining' ? 'leaving' : 'deaf'
    },

    isOver: () => waiting().length === 0,

    /** One sentence for each worker. */
    told: () => [...workers.values()].map(tell),

    outcomes: (): { workerId: string; outcome: Outcome | undefined }[] =>
      [...workers.values()].map(({ beat, outcome }) => ({ workerId: beat.workerId, outcome })),
  }
}

function tell({ beat, outcome }: Draining): string {
  const { workerId, state, jobs } = beat
  if (outcome === 'gone') return `${workerId} has left`
  if (outcome === 'lost') return `${workerId} fell silent; whatever it held goes to others`
  if (outcome === 'deaf') return `${workerId} goes on taking jobs: it may be of an earlier version`
  if (outcome === 'leaving') return `${workerId} leaves after its job; no longer waited for`
  if (state !== 'draining') return `${workerId} has not heard it yet`
  const held = jobs.find(({ stage }) => stage !== 'ended')
  // Tens, because each change is a line.
  const percent = held && Math.floor(held.percent / 10) * 10
  return held
    ? `${workerId} finishes a job: ${held.stage}, ${percent} %`
    : `${workerId} has nothing in hand and ends`
}
