import { type Beat, canDo, type Needs, type Offers, type Wake } from '@avatar/contracts'
import type { ScaleWorker } from './decide-scale.ts'
import { isOf } from './wake-steps.ts'

/** A worker that has one of its jobs in these stages has the GPU busy, or is about to. */
const busyStages: ReadonlySet<Beat['jobs'][number]['stage']> = new Set([
  'fetching',
  'ready',
  'rendering',
])

/** The workers that are there, as far as they were heard. Pure: time is an argument, in monotonic ms. */
export function createCrew(silentAfterMs: number) {
  const heard = new Map<string, { beat: Beat; atMs: number }>()
  /** What the workers of each pool told last, by engine; it outlasts them. */
  const told = new Map<string, Map<string, Offers | undefined>>()

  return {
    note(beat: Beat, nowMs: number): void {
      const { pool = 'local', engine, engineFacts, offers } = beat
      if (engineFacts) told.set(pool, (told.get(pool) ?? new Map()).set(engine, offers))
      if (beat.state === 'gone') heard.delete(beat.workerId)
      else heard.set(beat.workerId, { beat, atMs: nowMs })
    },
    /** @param secondsOf the estimate of a job whose worker does not say how long it still takes */
    workers(nowMs: number, secondsOf: (jobId: string) => number): ScaleWorker[] {
      for (const [id, { atMs }] of heard) if (nowMs - atMs > silentAfterMs * 4) heard.delete(id)
      return [...heard.values()]
        .filter(({ atMs }) => nowMs - atMs <= silentAfterMs)
        .map(({ beat }) => ({
          // Workers of an earlier version name no pool.
          pool: beat.pool ?? 'local',
          state: beat.state,
          workerId: beat.workerId,
          incarnation: beat.incarnation,
          ...(beat.state === 'loading'
            ? {
                loading: {
                  seconds: beat.time?.loadingSeconds ?? 0,
                  isInTrouble: beat.trouble !== undefined,
                },
              }
            : {}),
          remainingSeconds: beat.jobs
            .filter(({ stage }) => busyStages.has(stage))
            .reduce((sum, job) => sum + (job.remainingSeconds ?? secondsOf(job.jobId)), 0),
        }))
    },
    /** Whether workers of a pool do such jobs, as far as any has told. */
    mayDo(pool: string, needs: Needs): boolean {
      const known = told.get(pool)
      return !known || [...known.values()].some((offers) => canDo(offers, needs))
    },
    /** How long ago the worker of a wake-up was heard; undefined when it never was. */
    ageMsOf(wake: Wake, nowMs: number): number | undefined {
      const found = wake.workerId === undefined ? undefined : heard.get(wake.workerId)
      return found && isOf(wake, found.beat) ? nowMs - found.atMs : undefined
    },
  }
}

export type Crew = ReturnType<typeof createCrew>
