import { buckets, type ScaleSummary, scaleKey, scaleSummarySchema } from '@avatar/contracts'
import type { Bus } from '@avatar/service-kit'

/** Tells the REST door what was decided, when it is otherwise than before. */
export type ScaleTeller = {
  /** @throws AppError BROKER_UNAVAILABLE */
  tell(summary: Omit<ScaleSummary, 'sinceMs'>, nowMs: number): Promise<void>
}

export async function openScaleTeller(bus: Bus): Promise<ScaleTeller> {
  const records = await bus.records(buckets.meta, scaleSummarySchema)
  let told: ScaleSummary | undefined

  return {
    async tell(summary, nowMs) {
      const since = (known: ScaleSummary | undefined) =>
        known?.reason === summary.reason ? known.sinceMs : nowMs
      if (told && isSame(told, { ...summary, sinceMs: since(told) })) return
      // Another orchestrator may have told it before this one decided.
      const found = await records.find(scaleKey)
      const next = { ...summary, sinceMs: since(found?.value) }
      if (!found || !isSame(found.value, next)) {
        const written = found
          ? await records.update(scaleKey, next, found.revision)
          : await records.create(scaleKey, next)
        if (typeof written !== 'number') return
      }
      told = next
    },
  }
}

function isSame(a: ScaleSummary, b: ScaleSummary): boolean {
  const names = Object.keys(scaleSummarySchema.shape) as (keyof ScaleSummary)[] // keys() forgets them.
  return names.every((name) => a[name] === b[name])
}
