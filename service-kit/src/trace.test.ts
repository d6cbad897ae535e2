import { describe, expect, it } from 'vitest'
import { beginTrace, continueTrace, parseTrace, rootTrace } from './trace.ts'

const traceId = '0af7651916cd43dd8448eb211c80319c'
const spanId = 'b7ad6b7169203331'
const header = (flags: string, trace = traceId, span = spanId) => `00-${trace}-${span}-${flags}`

const broken = [
  undefined,
  '',
  'nonsense',
  header('01', '0'.repeat(32)),
  header('01', traceId, '0'.repeat(16)),
  header('01', traceId.toUpperCase()),
  `00-${traceId}-${spanId}`,
  `ff-${traceId}-${spanId}-01`,
]

describe('the trace of a message of our own', () => {
  it('goes on below its sender and obeys the flag', () => {
    const kept = continueTrace(header('01'))
    expect(kept).toMatchObject({ traceId, parentSpanId: spanId, isSampled: true })
    expect(kept.traceparent).toBe(header('01', traceId, kept.spanId))
    expect(kept.spanId).not.toBe(spanId)
    expect(continueTrace(header('00')).traceparent).toMatch(/-00$/)
  })

  it('begins without one that can be read, and is not kept, because nobody decided so', () => {
    for (const traceparent of broken) {
      const trace = continueTrace(traceparent)
      expect(trace.parentSpanId).toBeUndefined()
      expect(trace.traceparent).toMatch(/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00$/)
      expect(parseTrace(traceparent)).toBeUndefined()
    }
  })
})

describe('the trace of a caller', () => {
  it('takes the id and ignores the flag, which could switch our traces off or on', () => {
    for (const flags of ['00', '01']) {
      const of = { traceId, parentSpanId: spanId }
      expect(beginTrace(header(flags), 1)).toMatchObject({ ...of, isSampled: true })
      expect(beginTrace(header(flags), 0)).toMatchObject({ ...of, isSampled: false })
    }
  })

  it('is a new one where there is none, or one that is malformed or all zeros', () => {
    for (const traceparent of broken)
      expect(beginTrace(traceparent, 1)).toMatchObject({ parentSpanId: undefined, isSampled: true })
  })

  it('is drawn by its id: the same everywhere, and as often as the ratio says', () => {
    const ids = Array.from({ length: 2_000 }, () => rootTrace(false).traceId)
    const isKept = (id: string, ratio: number) => beginTrace(header('01', id), ratio).isSampled
    const kept = ids.filter((id) => isKept(id, 0.25))
    expect(kept.length).toBeGreaterThan(350)
    expect(kept.length).toBeLessThan(650)
    expect(kept.every((id) => isKept(id, 0.25) && isKept(id, 0.5))).toBe(true)
  })
})
