import type { JobRecord, LabelsOf, metrics } from '@avatar/contracts'

/** How wrong an estimate was: |told − actual| / actual. */
type EstimateError = { of: LabelsOf<typeof metrics.estimate_error_ratio>['of']; ratio: number }

/**
 * Of a completed job: its render, as estimated at the claim, and its finish, as its client was told first.
 * Records of an earlier version do not tell the second.
 */
export function estimateErrors(job: JobRecord): EstimateError[] {
  const { told, used, result, estimatedSeconds, createdAtMs, finishedAtMs } = job
  if (!result || finishedAtMs === undefined) return []
  const ofRender = ratioOf(estimatedSeconds, used?.gpuSeconds ?? result.renderSeconds)
  const ofFinish =
    told?.completesAtMs === undefined
      ? undefined
      : ratioOf(told.completesAtMs - createdAtMs, finishedAtMs - createdAtMs)
  return [
    ...(ofRender === undefined ? [] : [{ of: 'render' as const, ratio: ofRender }]),
    ...(ofFinish === undefined ? [] : [{ of: 'finish' as const, ratio: ofFinish }]),
  ]
}

function ratioOf(told: number, actual: number): number | undefined {
  return actual > 0 ? Math.abs(told - actual) / actual : undefined
}
