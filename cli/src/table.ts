/** A plain-text table: each column as wide as its widest cell, two spaces apart. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...lines.map((row) => row[column]?.length ?? 0)))
  const padded = lines.map((row) => row.map((cell, at) => cell.padEnd(widths[at] ?? 0)))
  return padded.map((cells) => `${cells.join('  ').trimEnd()}\n`).join('')
}
