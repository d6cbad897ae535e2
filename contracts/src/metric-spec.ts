import { blames, type FailureCode, failureCodes, failures } from './failures.ts'

/** The services that are scraped. */
export type MeasuredService = 'ingest' | 'orchestrator' | 'janitor'

/** The values of a label, in a closed set; `null` where only the running system knows them. */
type LabelSets = Readonly<Record<string, readonly string[] | null>>

/** One metric. Its unit is in its name and nowhere else. */
export type MetricSpec = {
  readonly by: readonly MeasuredService[]
  readonly type: 'counter' | 'histogram' | 'gauge'
  readonly help: string
  readonly labels: LabelSets
  /** Upper bounds of a histogram, in the unit of its name. */
  readonly buckets?: readonly number[]
  /**
   * The series of a counter that begin with 0, where they are not every combination of closed labels:
   * Prometheus sees no increase in a series that appears with 1.
   */
  readonly zeros?: readonly Readonly<Record<string, string>>[]
  /** Without this there is no series. */
  readonly onlyWith?: string
}

export const metricPrefix = 'infinitetalk_'

export const everyService = ['ingest', 'orchestrator', 'janitor'] as const
/** How a job comes in. */
export const doors = ['rest', 'event'] as const

/** The labels that tell what failed; each code has one blame. */
export const failureLabels = { code: failureCodes, blame: blames } as const satisfies LabelSets
/** The same for what may also go well. */
export const outcomeLabels = {
  code: [...failureCodes, 'none'],
  blame: [...blames, 'none'],
} as const satisfies LabelSets
export const blamed = (code: FailureCode) => ({ code, blame: failures[code].blame })

/** The code of what went well, and whom it blames. */
export const noFailure = { code: 'none', blame: 'none' } as const

/** The labels that a metric takes; each value is one of its closed set, or any text. */
export type LabelsOf<Spec extends MetricSpec> = {
  readonly [L in keyof Spec['labels']]: Spec['labels'][L] extends readonly (infer V extends
    string)[]
    ? V
    : string
}

/** The label sets with which a counter begins. Empty where only the running system knows a label's values. */
export function zerosOf({
  type,
  labels,
  zeros,
}: MetricSpec): readonly Readonly<Record<string, string>>[] {
  if (type !== 'counter') return []
  if (zeros) return zeros
  let combinations: Readonly<Record<string, string>>[] = [{}]
  for (const [label, values] of Object.entries(labels))
    combinations = combinations.flatMap((one) =>
      (values ?? []).map((value) => ({ ...one, [label]: value })),
    )
  return combinations
}
