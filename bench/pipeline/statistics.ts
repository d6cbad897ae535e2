/** The value at this share of the sorted values (nearest rank); NaN if there are none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

/** A series of measurements in three numbers. */
export function summarise(values: readonly number[]) {
  return { count: values.length, median: quantile(values, 0.5), p95: quantile(values, 0.95) }
}

/** The time from the end of each span to the start of the next one; 0 where they overlap. */
export function gapsBetween(spans: readonly { startMs: number; endMs: number }[]): number[] {
  const sorted = spans.toSorted((a, b) => a.startMs - b.startMs)
  return sorted
    .slice(1)
    .map(({ startMs }, at) => Math.max(0, startMs - (sorted[at]?.endMs ?? startMs)))
}

/** A Markdown table with aligned columns, readable without rendering. */
export function markdownTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const widths = head.map((name, column) =>
    Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join(' | ')} |\n`
  const rule = line(
    widths.map(
      (width, at) => (at === 0 ? '-' : '') + '-'.repeat(width - 1) + (at === 0 ? '' : ':'),
    ),
  )
  return line(head) + rule + rows.map(line).join('')
}
