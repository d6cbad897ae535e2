import { errors } from '@nats-io/transport-node'
import { describe, expect, it } from 'vitest'
import { createMover } from './bus-moving.ts'
import { createLog } from './log.ts'

function aMover(info: { cluster?: string } = { cluster: 'avatar' }) {
  let nowMs = 0
  const clock = { monotonicMs: () => nowMs }
  const advance = (ms: number) => {
    nowMs += ms
  }
  let moves = 0
  const connection = {
    info,
    async reconnect() {
      moves++
    },
  }
  const log = createLog('test', 'silent')
  // Only this much of the connection is looked at.
  const mover = createMover({ connection: connection as never, clock, log })
  /** Fails every second, for so long. */
  const failFor = (seconds: number) => {
    for (let second = 0; second <= seconds; second++) {
      if (second > 0) advance(1_000)
      mover.noteFailure(new errors.TimeoutError())
    }
  }
  return { mover, advance, failFor, moves: () => moves }
}

describe('a broker of several', () => {
  it('is left once it has stored nothing for longer than an election', () => {
    const { failFor, moves } = aMover()
    failFor(9)
    expect(moves()).toBe(0)
    failFor(1)
    expect(moves()).toBe(1)
    failFor(9)
    expect(moves()).toBe(1)
  })

  it('is kept while it stores something now and then', () => {
    const { mover, failFor, moves } = aMover()
    for (let times = 0; times < 5; times++) {
      failFor(9)
      mover.noteStored()
    }
    expect(moves()).toBe(0)
  })

  it('is kept where failures have nothing to do with each other, or are its answers', () => {
    const { mover, advance, moves } = aMover()
    for (let times = 0; times < 100; times++) {
      mover.noteFailure(new errors.TimeoutError())
      advance(6_000)
    }
    for (let times = 0; times < 100; times++) {
      mover.noteFailure(new errors.PermissionViolationError('no', 'publish', 'x'))
      advance(1_000)
    }
    expect(moves()).toBe(0)
  })
})

describe('a broker alone', () => {
  it('is never left', () => {
    const { failFor, moves } = aMover({})
    failFor(60)
    expect(moves()).toBe(0)
  })
})
