import { loadConfig } from '@avatar/service-kit'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { retentionConfig } from './config.ts'

describe('the retention', () => {
  it.each([
    ['0.0005', true],
    ['1.5', true],
    ['168', true],
    ['0', false],
    ['-1', false],
    ['169', false],
    ['six', false],
  ])('may be %s hours: %s', (VIDEO_RETENTION_HOURS, isFine) => {
    const load = () => loadConfig(z.object(retentionConfig), { VIDEO_RETENTION_HOURS })
    if (isFine) expect(load().VIDEO_RETENTION_HOURS).toBe(Number(VIDEO_RETENTION_HOURS))
    else expect(load).toThrow('VIDEO_RETENTION_HOURS')
  })

  it('is six hours by default', () => {
    expect(loadConfig(z.object(retentionConfig), {}).VIDEO_RETENTION_HOURS).toBe(6)
  })
})
