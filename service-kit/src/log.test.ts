import { describe, expect, it } from 'vitest'
import { AppError } from './errors.ts'
import { createLog, logFailure, scrubSecrets } from './log.ts'

function captured(level = 'info') {
  const lines: string[] = []
  const counted: string[] = []
  const log = createLog('ingest', level, {
    destination: { write: (line: string) => void lines.push(line) },
    countFailure: (code) => void counted.push(code),
  })
  return {
    log,
    lines,
    counted,
    last: () => JSON.parse(lines.at(-1) ?? '{}') as Record<string, never>,
  }
}

describe('a log line', () => {
  it('is one JSON object with the service, the level as a word and the time in ISO 8601', () => {
    const { log, lines, last } = captured()
    log.info({ jobId: 'j' }, 'job accepted')
    log.debug('not shown')
    expect(lines).toHaveLength(1)
    expect(last()).toMatchObject({
      service: 'ingest',
      level: 'info',
      jobId: 'j',
      msg: 'job accepted',
    })
    expect(last()['time']).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/)
  })

  it('describes an error by code, details and cause, without the objects attached to it', () => {
    const { log, last } = captured()
    const cause = Object.assign(new Error('socket closed'), { request: { headers: ['private'] } })
    const error = new AppError('STORE_UNAVAILABLE', { cause, details: { key: 'k' } })
    log.error({ err: error }, 'failed')
    expect(last()['err']).toMatchObject({
      type: 'AppError',
      code: 'STORE_UNAVAILABLE',
      details: { key: 'k' },
      stack: expect.stringContaining('log.test'),
      cause: { type: 'Error', message: 'socket closed' },
    })
    expect(JSON.stringify(last())).not.toContain('private')
    log.error({ err: 'thrown as text' }, 'failed')
    expect(last()['err']).toBe('thrown as text')
  })

  it('never holds a secret, wherever it stands in the line', () => {
    const { log, lines } = captured()
    const key = `ava_live_abcDEF123456_${'s'.repeat(32)}000000`
    log.info({ url: `http://s3/x?X-Amz-Signature=abc123&X-Amz-Credential=me%2F1` }, `sent ${key}`)
    log.info({ headers: { authorization: 'Bearer top-secret' } }, 'nats://u:hunter2@host')
    const text = lines.join('')
    for (const hidden of ['abc123', 'me%2F1', 'sssss', 'top-secret', 'hunter2'])
      expect(text).not.toContain(hidden)
    expect(text.match(/\[redacted\]/g)).toHaveLength(5)
  })

  it('is left alone when there is nothing to hide', () => {
    const text = '{"url":"http://127.0.0.1:8080/status","msg":"Bearers of news"}'
    expect(scrubSecrets(text)).toBe(text)
  })
})

describe('a failure', () => {
  it.each([
    ['STORAGE_FULL', 'error', 'us'],
    ['STORE_UNAVAILABLE', 'warn', 'dependency'],
    ['AUDIO_EMPTY', 'info', 'caller'],
  ] as const)('of code %s is written at level %s, because it blames %s', (code, level, blame) => {
    const { log, last, counted } = captured()
    logFailure(log.child({ jobId: 'j' }), new AppError(code), 'it failed', { subject: 's' })
    expect(last()).toMatchObject({ level, code, blame, jobId: 'j', subject: 's', msg: 'it failed' })
    expect(counted).toEqual([code])
  })

  it('without a code counts as ours', () => {
    const { log, last, counted } = captured()
    logFailure(log, new TypeError('a bug'), 'it failed')
    expect(last()).toMatchObject({ level: 'error', code: 'UNEXPECTED', err: { message: 'a bug' } })
    expect(counted).toEqual(['UNEXPECTED'])
  })
})
