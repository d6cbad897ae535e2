import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { logLineMaxBytes, secretShapes } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { Secret } from './config.ts'
import { scrubDetails, scrubSecrets } from './scrub.ts'

const file = join(import.meta.dirname, '../../contracts/fixtures/secrets.json')
/** A dot in the middle keeps scanners of repositories from taking a sample for a real secret. */
const samples = z
  .array(z.object({ name: z.string(), text: z.string(), scrubbed: z.string() }))
  .parse(JSON.parse(readFileSync(file, 'utf8')))
  .map((sample) => ({ ...sample, text: sample.text.replaceAll('·', '') }))

describe('what looks like a secret', () => {
  it.each(samples)('is hidden, and nothing else: $name', ({ text, scrubbed }) => {
    expect(scrubSecrets(text)).toBe(scrubbed)
    expect(scrubSecrets(scrubbed), 'twice is fine').toBe(scrubbed)
  })

  it.each(secretShapes)('is found at once in 16 KB of hostile text: $name', (shape) => {
    const pattern = new RegExp(shape.pattern, shape.ignoresCase ? 'gi' : 'g')
    const bits = [
      ...shape.hints,
      '://',
      '://a:',
      '?a',
      '\\"',
      'key="',
      'secret:\\"',
      "='",
      'eyJ',
      'A',
      '-',
    ]
    // A pattern that needs time by the square or worse takes seconds for this.
    const beganMs = performance.now()
    for (const bit of bits)
      for (const more of ['', 'a', ' ']) {
        const part = bit + more
        part.repeat(Math.ceil(logLineMaxBytes / part.length)).replace(pattern, shape.replacement)
      }
    expect(performance.now() - beganMs).toBeLessThan(5_000)
  })

  it('is hidden in whatever JSON can hold, which stays what it was', () => {
    const details = { url: 'nats://u:hunter2@h', list: ['Bearer abc'], password: 'a"b', n: 1 }
    expect(scrubDetails(details)).toEqual({
      url: 'nats://u:[redacted]@h',
      list: ['Bearer [redacted]'],
      password: '[redacted]',
      n: 1,
    })
  })
})

describe('what a process was given as a secret', () => {
  const value = 'mark/of a "secret" ü+'
  new Secret(value)
  new Secret('short')

  it.each([
    ['as it is', value],
    ['in JSON', JSON.stringify({ a: value })],
    ['URL-encoded', encodeURIComponent(value)],
    ['in base64', Buffer.from(value).toString('base64')],
    ['in base64 behind one character', Buffer.from(`u:${value}!`).toString('base64')],
    ['in base64 behind two', Buffer.from(`us:${value}`).toString('base64url')],
  ])('is hidden %s', (_, text) => {
    const scrubbed = scrubSecrets(`${text} and more`)
    expect(scrubbed).toContain('[redacted]')
    expect(scrubbed).not.toContain(text)
    expect(scrubbed).toContain(' and more')
  })

  it('is left to the shapes when it is as short as a word', () => {
    expect(scrubSecrets('in short')).toBe('in short')
    expect(scrubSecrets('password=short')).toBe('password=[redacted]')
  })
})
