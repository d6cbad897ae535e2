import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  ConfigError,
  loadConfig,
  natsConfig,
  program,
  runtimeConfig,
  secret,
  storeConfig,
  withStoreAddress,
  writableFolder,
} from './config.ts'

const schema = z.object({
  ...natsConfig,
  ...runtimeConfig,
})
const valid = {
  NATS_URL: 'nats://127.0.0.1:4222',
  NATS_USER: 'ingest',
  NATS_PASSWORD: 'sesame',
  METRICS_PORT: '0',
}

describe('the configuration', () => {
  it('is frozen, with defaults for what is missing or empty', () => {
    const config = loadConfig(schema, { ...valid, LOG_LEVEL: '', PATH: '/bin' })
    expect(config).toMatchObject({ LOG_LEVEL: 'info', METRICS_PORT: 0 })
    expect(Object.isFrozen(config)).toBe(true)
    expect(config).not.toHaveProperty('PATH')
  })

  it('reports every mistake at the same time', () => {
    const wrong = { ...valid, NATS_URL: 'nowhere', LOG_LEVEL: 'loud', NATS_PASSWORD: undefined }
    const failing = () => loadConfig(schema, wrong)
    expect(failing).toThrow(ConfigError)
    for (const name of ['NATS_URL', 'LOG_LEVEL', 'NATS_PASSWORD']) expect(failing).toThrow(name)
  })

  it('tries programs and folders when it is read, and makes a folder that is missing', () => {
    const places = z.object({ PROGRAM: program(), FOLDER: writableFolder() })
    const folder = join(import.meta.dirname, 'config.ts', 'inside-a-file')
    const failing = () => loadConfig(places, { PROGRAM: '/nowhere/ffmpeg', FOLDER: folder })
    expect(failing).toThrow('/nowhere/ffmpeg cannot be run: ENOENT')
    expect(failing).toThrow('inside-a-file cannot be written: ENOTDIR')
    const fresh = join(mkdtempSync(join(tmpdir(), 'avatar-config-')), 'a/b')
    loadConfig(places, { PROGRAM: process.execPath, FOLDER: fresh })
    expect(existsSync(fresh)).toBe(true)
    rmSync(join(fresh, '../..'), { recursive: true })
  })

  it('refuses an address without its scheme, which would only fail later', () => {
    const store = z.object({ ...natsConfig, ...storeConfig })
    const failing = () =>
      loadConfig(store, { ...valid, NATS_URL: 'localhost:4222', S3_ENDPOINT: 'localhost:8333' })
    expect(failing).toThrow('must be a URL such as nats://host:4222')
    expect(failing).toThrow('must be a URL such as https://host:8333')
  })

  it.each(['media.example', 'ftp://media.example', 'javascript:x', 'https://media.example/?x=y'])(
    'refuses the public endpoint %s',
    (endpoint) => {
      const failing = () =>
        loadConfig(z.object(storeConfig).partial(), { S3_PUBLIC_ENDPOINT: endpoint })
      expect(failing).toThrow('S3_PUBLIC_ENDPOINT')
    },
  )

  it('never shows a secret, however it is printed', () => {
    const hidden = secret().parse('sesame')
    expect(hidden.reveal()).toBe('sesame')
    const printed = [`${hidden}`, JSON.stringify({ hidden }), inspect({ hidden }), String(hidden)]
    for (const text of printed) {
      expect(text).toContain('[redacted]')
      expect(text).not.toContain('sesame')
    }
  })

  it('reports a missing store address together with every other mistake', () => {
    const store = withStoreAddress(z.object({ ...natsConfig, ...storeConfig }))
    const wrong = { ...valid, NATS_URL: 'nowhere', R2_BUCKET_NAME: 'media' }
    const failing = () => loadConfig(store, wrong)
    for (const name of ['NATS_URL', 'S3_ENDPOINT or R2_ACCOUNT_ID', 'R2_SECRET_ACCESS_KEY'])
      expect(failing).toThrow(name)
    const complete = {
      ...{ ...valid, R2_BUCKET_NAME: 'media' },
      ...{ R2_ACCESS_KEY_ID: 'a', R2_SECRET_ACCESS_KEY: 'b', R2_ACCOUNT_ID: 'a'.repeat(32) },
    }
    expect(loadConfig(store, complete).S3_ENDPOINT).toBeUndefined()
  })
})

describe('a secret in a file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'avatar-secrets-'))
  const file = join(folder, 'password')
  const { NATS_PASSWORD: _given, ...withoutPassword } = valid
  afterAll(() => rmSync(folder, { recursive: true }))

  it('is read without its trailing newline', () => {
    writeFileSync(file, 'from a file\n')
    const config = loadConfig(schema, { ...withoutPassword, NATS_PASSWORD_FILE: file })
    expect(config.NATS_PASSWORD.reveal()).toBe('from a file')
  })

  it('is refused when the variable is given too, and names both', () => {
    const failing = () => loadConfig(schema, { ...valid, NATS_PASSWORD_FILE: file })
    expect(failing).toThrow('NATS_PASSWORD or NATS_PASSWORD_FILE')
  })

  it('is named by its path when it cannot be read, beside every other mistake', () => {
    const missing = join(folder, 'none')
    const failing = () =>
      loadConfig(schema, { ...withoutPassword, NATS_URL: 'nowhere', NATS_PASSWORD_FILE: missing })
    for (const part of [missing, 'ENOENT', 'NATS_URL']) expect(failing).toThrow(part)
  })

  it('cannot provide a setting that is not a secret', () => {
    const failing = () => loadConfig(schema, { ...valid, NATS_USER: '', NATS_USER_FILE: file })
    expect(failing).toThrow('NATS_USER')
  })
})
