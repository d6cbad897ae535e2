import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  ConfigError,
  loadConfig,
  natsConfig,
  retentionConfig,
  runtimeConfig,
  secret,
} from './config.ts'
import { s3Endpoint } from './object-store-of.ts'

const schema = z.object({
  ...natsConfig,
  ...runtimeConfig,
  ...retentionConfig,
})
const valid = {
  NATS_URL: 'nats://127.0.0.1:4222',
  NATS_USER: 'ingest',
  NATS_PASSWORD: 'sesame',
  METRICS_PORT: '0',
}

describe('the configuration', () => {
  it('is parsed once, frozen, with the defaults of what is not given or empty', () => {
    const config = loadConfig(schema, { ...valid, LOG_LEVEL: '', PATH: '/bin' })
    expect(config).toMatchObject({ LOG_LEVEL: 'info', METRICS_PORT: 0, VIDEO_RETENTION_HOURS: 6 })
    expect(Object.isFrozen(config)).toBe(true)
    expect(config).not.toHaveProperty('PATH')
  })

  it('tells everything that is wrong at the same time', () => {
    const wrong = { ...valid, NATS_URL: 'nowhere', LOG_LEVEL: 'loud', NATS_PASSWORD: undefined }
    const failing = () => loadConfig(schema, wrong)
    expect(failing).toThrow(ConfigError)
    for (const name of ['NATS_URL', 'LOG_LEVEL', 'NATS_PASSWORD']) expect(failing).toThrow(name)
  })

  it.each([
    ['0.0005', true],
    ['1.5', true],
    ['168', true],
    ['0', false],
    ['-1', false],
    ['169', false],
    ['six', false],
  ])('keeps media for %s hours: %s', (VIDEO_RETENTION_HOURS, isFine) => {
    const load = () => loadConfig(schema, { ...valid, VIDEO_RETENTION_HOURS })
    if (isFine) expect(load().VIDEO_RETENTION_HOURS).toBe(Number(VIDEO_RETENTION_HOURS))
    else expect(load).toThrow('VIDEO_RETENTION_HOURS')
  })

  it('never shows a secret, however it is printed', () => {
    const hidden = secret().parse('sesame')
    expect(hidden.reveal()).toBe('sesame')
    const printed = [`${hidden}`, JSON.stringify({ hidden }), inspect({ hidden }), String(hidden)]
    for (const text of printed) {
      expect(text).toContain('[redacted]')
      expect(text).not.toContain('sesame')
    }
  })

  it('names the store by its address, or by the account of R2', () => {
    const account = 'a'.repeat(32)
    expect(s3Endpoint({ S3_ENDPOINT: 'http://s3', R2_ACCOUNT_ID: account })).toBe('http://s3')
    expect(s3Endpoint({ R2_ACCOUNT_ID: account })).toBe(
      `https://${account}.r2.cloudflarestorage.com`,
    )
    expect(() => s3Endpoint({})).toThrow(ConfigError)
  })
})
