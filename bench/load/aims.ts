/** A figure and what it is to be. */
export type Aim = {
  what: string
  value: number
  unit: string
  isAtLeast?: true
  bound: number
}

/** A row for each, and the line that tells all of them: what is not met says so. */
export function judge(aims: readonly Aim[]): { rows: string[][]; line: string; isMet: boolean } {
  const judged = aims.map(({ what, value, unit, isAtLeast, bound }) => {
    const isMet = isAtLeast ? value >= bound : value <= bound
    const [shown, aim] = [
      `${value.toFixed(value < 10 ? 2 : 1)}${unit}`,
      `${isAtLeast ? '≥' : '≤'} ${bound}${unit}`,
    ]
    return { what, shown, aim, isMet }
  })
  return {
    rows: judged.map(({ what, shown, aim, isMet }) => [what, shown, aim, isMet ? 'yes' : 'NO']),
    line: judged
      .map(({ what, shown, aim, isMet }) => `${what} ${shown} (${isMet ? '' : 'NOT '}${aim})`)
      .join(', '),
    isMet: judged.every(({ isMet }) => isMet),
  }
}
