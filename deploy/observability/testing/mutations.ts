import { parser } from '@prometheus-io/lezer-promql'

const comparisons: ReadonlySet<string> = new Set(['Gtr', 'Gte', 'Lss', 'Lte', 'Eql', 'Neq'])

/**
 * The expression with one of its thresholds doubled or halved, for each of them. A threshold is a number
 * in a comparison that is no function's argument; 0 stays 0 and is left out.
 */
export function mutationsOf(expression: string): { change: string; expression: string }[] {
  const found: { from: number; to: number }[] = []
  const cursor = parser.parse(expression).cursor()
  cursor.iterate((node) => {
    if (node.name === 'FunctionCallBody') return false
    const isNumber = node.name === 'NumberDurationLiteral'
    if (isNumber && isCompared(node.node.parent)) found.push({ from: node.from, to: node.to })
    return true
  })
  return found.flatMap(({ from, to }) => {
    const number = Number(expression.slice(from, to))
    if (number === 0) return []
    return [number * 2, number / 2].map((other) => ({
      change: `${number} at ${from} becomes ${other}`,
      expression: `${expression.slice(0, from)}${other}${expression.slice(to)}`,
    }))
  })
}

type Node = { name: string; parent: Node | null; getChild(type: string): unknown }

/** Whether a number counts in a comparison, itself or as a part of a sum or product. */
function isCompared(node: Node | null): boolean {
  if (node?.name !== 'BinaryExpr') return false
  return [...comparisons].some((name) => node.getChild(name)) || isCompared(node.parent)
}
