import { logLineSchema } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'
import { AppError } from './errors.ts'
import { createLog, logFailure } from './log.ts'

function captured(level = 'info') {
  const lines: string[] = []
  const counted: string[] = []
  const levels: string[] = []
  const log = createLog('ingest', level, {
    destination: { write: (line: string) => void lines.push(line) },
    countFailure: (code) => void counted.push(code),
    countLine: (level) => void levels.push(level),
  })
  return {
    log,
    lines,
    counted,
    levels,
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
    const { log, lines, last } = captured()
    const cause = Object.assign(new Error('socket closed'), { request: { headers: ['private'] } })
    const error = new AppError('STORE_UNAVAILABLE', { cause, details: { object: 'k' } })
    log.error({ err: error }, 'failed')
    expect(last()['err']).toMatchObject({
      type: 'AppError',
      code: 'STORE_UNAVAILABLE',
      details: { object: 'k' },
      stack: expect.stringContaining('log.test'),
      cause: { type: 'Error', message: 'socket closed' },
    })
    expect(JSON.stringify(last())).not.toContain('private')
    log.error({ err: 'thrown as text' }, 'failed')
    expect(last()['err']).toEqual({ type: 'string', message: 'thrown as text' })
    const own = new Error('its own cause')
    own.cause = own
    log.error({ err: own }, 'failed')
    log.error({ err: new AggregateError([new Error('first')], 'all') }, 'failed')
    expect(last()['err']).toMatchObject({ type: 'AggregateError', cause: { message: 'first' } })
    for (const line of lines) logLineSchema.parse(JSON.parse(line))
  })

  it('never holds a secret, wherever it stands in the line', () => {
    const { log, lines } = captured()
    const key = `ava_live_abcDEF123456_${'s'.repeat(32)}000000`
    log.info({ details: { url: 'http://s3/x?X-Amz-Signature=abc123' } }, `sent ${key}`)
    log.child({ reason: 'Bearer top-secret' }).info('nats://u:hunter2@host')
    const text = lines.join('')
    for (const hidden of ['abc123', 'sssss', 'top-secret', 'hunter2'])
      expect(text).not.toContain(hidden)
    expect(text.match(/\[redacted\]/g)).toHaveLength(4)
  })

  it('is counted by its level, that of a child too', () => {
    const { log, levels, counted } = captured('warn')
    log.warn('one')
    log.child({ jobId: 'j' }).error('two')
    log.info('below the level')
    logFailure(log, new AppError('STORE_UNAVAILABLE'), 'three')
    expect(levels).toEqual(['warn', 'error', 'warn'])
    expect(counted).toEqual(['STORE_UNAVAILABLE'])
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
