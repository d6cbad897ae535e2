import type { Foundation } from '@avatar/service-kit'

/** Whether anything may be deleted now. A refusal is counted, and logged at growing distances. */
export type MayDelete = () => boolean

const firstSilenceMs = 60_000
const longestSilenceMs = 3_600_000
const noSilence = { untilMs: -Infinity, ms: firstSilenceMs / 2 }

/** A deletion cannot be undone, so it waits until there is no doubt about the time. */
export function createMayDelete({
  agreement,
  clock,
  log,
  metrics,
}: Pick<Foundation, 'agreement' | 'clock' | 'log' | 'metrics'>): MayDelete {
  const { deletions_refused_total: refused } = metrics.of('janitor')
  let silence = noSilence
  return () => {
    const nowMs = clock.monotonicMs()
    if (agreement.isTrusted()) {
      silence = noSilence
      return true
    }
    refused.add(1)
    if (nowMs >= silence.untilMs) {
      const ms = Math.min(longestSilenceMs, silence.ms * 2)
      silence = { untilMs: nowMs + ms, ms }
      log.warn({ aheadMs: agreement.aheadMs() }, 'nothing is deleted while the time is in doubt')
    }
    return false
  }
}
