import { logLineMaxBytes, logLineSchema } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'
import { fitLine } from './fit-line.ts'

const line = (keys: object) =>
  `${JSON.stringify({ level: 'error', time: '2026-01-01T00:00:00.000Z', service: 'test', msg: 'failed', ...keys })}\n`
const parse = (text: string) => logLineSchema.parse(JSON.parse(text))
const anError = { type: 'Error', message: 'm' }

describe('a line of the log', () => {
  it('is left alone when it fits', () => {
    const text = line({ err: { ...anError, stack: 'at a'.repeat(100) } })
    expect(fitLine(text)).toBe(text)
  })

  it('loses its innermost stack first', () => {
    const cause = { ...anError, stack: 'ü\n'.repeat(5_000) }
    const fitted = fitLine(line({ jobId: 'j', err: { ...anError, stack: 'at outer', cause } }))
    expect(Buffer.byteLength(fitted)).toBeLessThanOrEqual(logLineMaxBytes)
    expect(parse(fitted)).toMatchObject({
      jobId: 'j',
      err: { stack: 'at outer', cause: { stack: expect.stringMatching(/\[cut\]$/) } },
    })
  })

  it.each([
    ['a message', { err: { ...anError, message: '"'.repeat(40_000) } }],
    ['details', { details: { list: Array.from({ length: 5_000 }, () => 'x'.repeat(100)) } }],
    [
      'an object with many keys',
      {
        details: Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`name${n}`, n])),
      },
    ],
  ])('has at most 16 KB, whatever is long: %s', (_, keys) => {
    const fitted = fitLine(line(keys))
    expect(Buffer.byteLength(fitted)).toBeLessThanOrEqual(logLineMaxBytes)
    expect(parse(fitted)).toMatchObject({ level: 'error', msg: 'failed' })
  })
})
