/** Somebody is woken; next working day; seen on the dashboard; nobody (the watchdog). */
export const severities = ['page', 'ticket', 'info', 'none'] as const
export type Severity = (typeof severities)[number]

/**
 * One alert. Its expression means the same in Prometheus 2 and 3: no bound of a bucket is matched as
 * `le="180"`, which 3 spells otherwise. It survives replicas, which tell the same thing twice.
 */
export type Alert = {
  readonly name: string
  readonly severity: Severity
  /** How long it must hold, such as `5m`; at once without. */
  readonly for?: string
  readonly expr: string
  /** One sentence for whoever gets it; `{{ $labels.x }}` and `{{ $value }}` are Prometheus'. */
  readonly summary: string
  /** What makes it fire. A threshold that is doubled breaks one of them, or of `quiet`. */
  readonly fires: readonly AlertCase[]
  /** What looks alike and is no reason. A threshold that is halved breaks one of them, or of `fires`. */
  readonly quiet: readonly AlertCase[]
}

export type AlertCase = {
  readonly why: string
  /** When the alert is looked at, from the beginning of the series. */
  readonly at: string
  /** Samples a minute apart by series, in promtool's notation: `0x5 1+2x10`. */
  readonly series: Readonly<Record<string, string>>
}
