import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { aJob, aRender } from '../testing/index.ts'
import { intakeSubmissionSchema, submissionFieldsSchema } from './intake.ts'
import { jobRecordSchema } from './job.ts'
import { limits } from './limits.ts'
import { callersText, text } from './text.ts'

const accepts = (schema: z.ZodType, value: unknown) => schema.safeParse(value).success

describe('the length of a text', () => {
  it('counts code points, as JSON Schema does, and not UTF-16 units', () => {
    const schema = text({ min: 2, max: 3 })
    expect(['a', 'ab', '🙂🙂🙂', '🙂🙂🙂🙂'].map((value) => accepts(schema, value))).toEqual([
      false,
      true,
      true,
      false,
    ])
    expect(z.toJSONSchema(schema)).toMatchObject({ minLength: 2, maxLength: 3 })
    expect(z.toJSONSchema(text({ max: 3 }))).not.toHaveProperty('minLength')
  })

  it('allows a prompt of any 2,000 characters at both doors', () => {
    const objects = { image_key: 'intake/a/i', audio_key: 'intake/a/a' }
    for (const character of ['a', 'é', '🙂', '\n']) {
      const prompt = character.repeat(limits.promptMaxCharacters)
      expect(accepts(submissionFieldsSchema, { prompt })).toBe(true)
      expect(accepts(submissionFieldsSchema, { prompt: prompt + character })).toBe(false)
      expect(accepts(intakeSubmissionSchema, { ...objects, prompt })).toBe(true)
      expect(accepts(jobRecordSchema, aJob({ prompt }))).toBe(true)
    }
  })
})

describe('a caller’s text', () => {
  it('has no lone surrogates and no control characters except tabs and line breaks', () => {
    const schema = callersText({ max: 10 })
    expect(accepts(schema, 'a\tb\r\nc')).toBe(true)
    for (const wrong of ['\ud83d', 'a\udc00', 'nul\u0000', '\u001b[1m'])
      expect(accepts(schema, wrong)).toBe(false)
  })

  it('fits into the bucket even in the largest record', () => {
    const longest = '\n🙂'.repeat(limits.promptMaxCharacters / 2)
    const uploaded = aRender({
      engine: 'e'.repeat(64),
      warnings: Array(limits.warningsPerJob).fill({
        code: 'W'.repeat(40),
        message: 'w'.repeat(limits.warningMaxCharacters),
      }),
    })
    const job = aJob({
      prompt: longest,
      reference: '🙂'.repeat(limits.referenceMaxCharacters),
      state: 'completed',
      warnings: Array(limits.warningsPerJob).fill({
        code: 'W'.repeat(40),
        message: 'w'.repeat(limits.warningMaxCharacters),
      }),
      uploaded,
      result: uploaded,
      error: { code: 'RENDER_FAILED', message: '🙂'.repeat(1000) },
    })
    expect(Buffer.byteLength(JSON.stringify(job))).toBeLessThan(limits.recordMaxBytes - 500)
  })
})
