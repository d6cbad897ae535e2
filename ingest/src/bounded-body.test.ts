import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { boundBody } from './bounded-body.ts'

const second = 1_000
const bounds = { maxBytes: 100, allowedMaxBytes: 50, idleMs: 30 * second, totalMs: 1_800 * second }

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
})
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0) // Every test ends with a body that has ended or failed.
  vi.useRealTimers()
})

/** A request's body, which something reads. */
function aBody(maxBytes = bounds.maxBytes) {
  const readable = new Readable({ read: () => undefined })
  const raw = readable as unknown as IncomingMessage // `boundBody` uses nothing else of it.
  const body = boundBody(raw, { ...bounds, maxBytes })
  readable.resume()
  /** Waits until what was pushed has been read. */
  const send = async (chunk: string) => {
    const read = new Promise((resolve) => readable.once('data', resolve))
    readable.push(chunk)
    await read
  }
  return { readable, body, send }
}

const codeOf = (signal: AbortSignal) => signal.reason?.code

describe('a bounded body', () => {
  it('may take as long as the total allows while bytes keep coming', async () => {
    const { readable, body, send } = aBody()
    for (let seconds = 0; seconds < 1_700; seconds += 25) {
      await send('x')
      vi.advanceTimersByTime(25 * second)
    }
    expect(body.signal.aborted).toBe(false)
    expect(body.bytes()).toBe(68)
    readable.push(null)
    await new Promise((resolve) => readable.once('close', resolve))
    vi.advanceTimersByTime(3_600 * second)
    expect(body.signal.aborted).toBe(false)
  })

  it('fails when no byte arrives for too long, and says so', async () => {
    const { body, send } = aBody()
    await send('x')
    vi.advanceTimersByTime(29 * second)
    expect(body.signal.aborted).toBe(false)
    vi.advanceTimersByTime(second)
    await expect(body.failed).rejects.toMatchObject({
      code: 'REQUEST_TIMEOUT',
      details: { problem: 'no byte of the body arrived', limit_seconds: 30 },
    })
  })

  it('fails when it takes too long altogether, and says so', async () => {
    const { body, send } = aBody()
    for (let seconds = 0; seconds < 1_800; seconds += 20) {
      await send('x')
      vi.advanceTimersByTime(20 * second)
    }
    await expect(body.failed).rejects.toMatchObject({
      code: 'REQUEST_TIMEOUT',
      details: { problem: 'the body took too long', limit_seconds: 1_800 },
    })
  })

  it('fails past its bound and is not read any further', async () => {
    const { readable, body, send } = aBody(3)
    await send('1234')
    expect(codeOf(body.signal)).toBe('BODY_TOO_LARGE')
    expect(readable.isPaused()).toBe(true)
    await body.drain()
  })

  it('fails when the client hangs up, before it is watched or later', async () => {
    const { readable, body, send } = aBody()
    await send('x')
    readable.destroy()
    await expect(body.failed).rejects.toMatchObject({ code: 'CLIENT_GONE' })
    const again = boundBody(readable as unknown as IncomingMessage, bounds)
    await expect(again.failed).rejects.toMatchObject({ code: 'CLIENT_GONE' })
  })

  it('stops draining when it fails', async () => {
    const { body } = aBody()
    const drained = body.drain()
    vi.advanceTimersByTime(30 * second)
    await drained
    expect(codeOf(body.signal)).toBe('REQUEST_TIMEOUT')
  })
})
