import { describe, expect, it } from 'vitest'
import { isNotable, prefixedLines, readableLine } from './log-lines.ts'

describe('log lines', () => {
  it('show a JSON line as a sentence and its keys', () => {
    const line = JSON.stringify({
      level: 'info',
      time: 'now',
      service: 'ingest',
      jobId: 'j',
      attempt: 2,
      msg: 'claimed',
    })
    expect(readableLine(line)).toBe('claimed jobId=j attempt=2')
  })

  it('show every level but info, and an error with its causes', () => {
    const err = { message: 'away', cause: { message: 'refused' } }
    expect(readableLine(JSON.stringify({ level: 'warn', msg: 'trying again', err }))).toBe(
      'WARN trying again (away: refused)',
    )
  })

  it('show what is wrong with a configuration line by line', () => {
    const problems = ['✖ too loud\n  → at LOG_LEVEL', 'NATS_URL: missing']
    const line = JSON.stringify({ level: 'fatal', msg: 'the configuration is not valid', problems })
    expect(readableLine(line)).toBe(
      'The configuration is not valid:\n✖ too loud\n  → at LOG_LEVEL\nNATS_URL: missing',
    )
  })

  it('pass on any text that is no log line', () => {
    for (const line of ['Traceback', '{"a":1}', '{half', '']) expect(readableLine(line)).toBe(line)
  })

  it('have colours only on a terminal', () => {
    const written = { terminal: '', file: '' }
    const nowMs = () => 0
    prefixedLines((text) => (written.terminal += text), { hasColours: true, nowMs })('s3', 'up')
    prefixedLines((text) => (written.file += text), { hasColours: false, nowMs })('s3', 'up')
    expect(written.terminal).toContain('\u001b[34m')
    expect(written.file).toBe('00:00:00.000 s3           up\n')
  })

  it('leave out what servers log below a warning', () => {
    expect(isNotable('nats', '[1] 2026/11/24 [INF] Server is ready')).toBe(false)
    expect(isNotable('nats', '[1] 2026/11/24 [ERR] disk full')).toBe(true)
    expect(isNotable('s3', 'I1124 02:18:48 volume grown')).toBe(false)
    expect(isNotable('s3', 'E1124 02:18:48 no space left')).toBe(true)
  })
})
