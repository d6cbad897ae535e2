import { JetStreamApiError } from '@nats-io/jetstream'
import { describe, expect, it } from 'vitest'
import { untilStored } from './bus-publish.ts'
import { systemClock } from './clock.ts'
import { createLog } from './log.ts'

/** Publishes to a broker that answers with these codes, one after the other, and then stores. */
function publish(answers: { status: number; code: number }[]) {
  const left = [...answers]
  const attempt = async () => {
    const answer = left.shift()
    if (!answer) return
    const { status, code } = answer
    throw new JetStreamApiError({ code: status, err_code: code, description: 'as tried' })
  }
  return untilStored(attempt, {
    subject: 'evt.x',
    // Only this much of the connection is looked at.
    connection: { isClosed: () => false } as never,
    clock: { ...systemClock, wait: async () => undefined },
    log: createLog('test', 'silent'),
    countRetry: () => undefined,
    askStorage: async () => undefined,
    mover: { noteStored: () => undefined, noteFailure: () => undefined },
  })
}

describe('a publish', () => {
  it.each([
    ['an earlier try is on its way through the cluster', { status: 409, code: 10_158 }],
    ['another message to its subject is', { status: 400, code: 10_164 }],
    ['the stream has too much to do', { status: 429, code: 10_167 }],
    ['there is no leader', { status: 503, code: 10_008 }],
  ])('is tried again while %s', async (_what, answer) => {
    expect(await publish([answer, answer])).toBe('stored')
  })

  it('is not tried again once the subject has moved on, or where it can never pass', async () => {
    expect(await publish([{ status: 400, code: 10_071 }])).toBe('exists')
    const missing = publish([{ status: 404, code: 10_059 }])
    await expect(missing).rejects.toMatchObject({ code: 'PUBLISH_REFUSED' })
  })
})
