import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { wireSchemas } from './wire-schemas.ts'

const folder = join(import.meta.dirname, '../fixtures')
const fixtureSchema = z.strictObject({ schema: z.string(), message: z.unknown() })

function fixtures(kind: 'valid' | 'invalid') {
  return readdirSync(join(folder, kind)).map((file) => {
    const text = readFileSync(join(folder, kind, file), 'utf8')
    return { file, ...fixtureSchema.parse(JSON.parse(text)) }
  })
}

function accepts(schema: string, message: unknown): boolean {
  const found = wireSchemas[schema]
  if (!found) throw new Error(`there is no schema called ${schema}`)
  return found.safeParse(message).success
}

describe('golden messages, which both languages share', () => {
  it.each(fixtures('valid'))('are accepted: $file', ({ schema, message }) => {
    expect(accepts(schema, message)).toBe(true)
  })

  it.each(fixtures('invalid'))('are refused: $file', ({ schema, message }) => {
    expect(accepts(schema, message)).toBe(false)
  })

  it.each(['valid', 'invalid'] as const)('include a %s one for every schema', (kind) => {
    const shown = new Set(fixtures(kind).map(({ schema }) => schema))
    expect(Object.keys(wireSchemas).filter((name) => !shown.has(name))).toEqual([])
  })
})
