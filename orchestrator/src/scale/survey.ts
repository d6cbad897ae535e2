import type { Timings } from '@avatar/contracts'
import { type Clock, type Log, logFailure } from '@avatar/service-kit'
import { isShortOfGpus } from './decide-scale.ts'
import type { Survey, WorkerProvider } from './providers/provider.ts'

/** Asks the provider how it stands, when that may matter, and puts right what it changed by itself. */
export type Surveyor = {
  /** What it said last, with what was put right since. */
  latest(): Survey | undefined
  /** The provider's own maximum as it said it last; undefined where it has none. */
  toldMax(): number | undefined
  /** Looks if it is time. @returns whether the provider stands otherwise than before */
  lookIfDue(when: SurveyOccasion): Promise<boolean>
}

/** What may make a look at the provider due. */
export type SurveyOccasion = {
  /** A worker is asked for now. */
  isAboutToRing: boolean
  /** How long ago one was asked for; `Infinity` for never. */
  sinceLastWakeMs: number
  /** How long the oldest wake-up has waited for a worker; 0 when none does. */
  longestWaitMs: number
}

/** Monotonic times within. A look that fails is logged, and repeated a little later. */
export function createSurveyor(deps: {
  provider: WorkerProvider
  clock: Clock
  log: Log
  timings: Timings
}): Surveyor {
  const { provider, clock, log, timings } = deps
  let latest: Survey | undefined
  let toldMax: number | undefined
  let lookedAtMs = -Infinity
  let again = true
  let shortSinceMs: number | undefined
  let otherGpusUntilMs = -Infinity

  function isDue({ isAboutToRing, sinceLastWakeMs, longestWaitMs }: SurveyOccasion): boolean {
    const ageMs = clock.monotonicMs() - lookedAtMs
    if (ageMs >= timings.surveyEveryMs) return true
    if (ageMs < timings.surveyAgainMs) return false
    const isFirstForLong = isAboutToRing && sinceLastWakeMs >= timings.surveyAfterSilenceMs
    return again || isFirstForLong || longestWaitMs >= timings.surveyAgainMs
  }

  /** Whether other kinds of GPU shall be asked for: the preferred one was not to be had for long. */
  function wantsOtherGpus(found: Survey): boolean {
    const nowMs = clock.monotonicMs()
    shortSinceMs = isShortOfGpus(found) ? (shortSinceMs ?? nowMs) : undefined
    if (shortSinceMs !== undefined && nowMs - shortSinceMs >= timings.noCapacityAfterMs)
      otherGpusUntilMs = nowMs + timings.otherGpusForMs
    return nowMs < otherGpusUntilMs
  }

  return {
    latest: () => latest,
    toldMax: () => toldMax,
    async lookIfDue(when) {
      if (!provider.rings || !isDue(when)) return false
      lookedAtMs = clock.monotonicMs()
      const before = JSON.stringify(latest)
      try {
        const found = await provider.survey()
        toldMax = found.maxWorkers
        latest = found
        const done = await provider.repair(found, wantsOtherGpus(found))
        for (const reason of done)
          log.warn({ provider: provider.name, reason }, 'the provider was put right')
        // After a repair the next look says whether it held.
        again = done.length > 0 || shortSinceMs !== undefined
        if (done.length > 0) latest = await provider.survey()
      } catch (error) {
        again = true
        logFailure(log, error, 'the provider does not say how it stands')
      }
      return JSON.stringify(latest) !== before
    },
  }
}
