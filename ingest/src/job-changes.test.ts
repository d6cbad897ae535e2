import { randomUUID } from 'node:crypto'
import { type Beat, subjects } from '@avatar/contracts'
import { aJob } from '@avatar/contracts/testing'
import { type Bus, type BusMessage, createLog } from '@avatar/service-kit'
import { handClock, itKeepsTheRunnableContract } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { createJobChanges } from './job-changes.ts'

const { jobId } = aJob()
const never = new AbortController().signal

/** Job changes over a bus whose messages the test sends, and a clock on which no time passes. */
function someChanges() {
  const handlers = new Set<(message: BusMessage) => unknown>()
  const bus = {
    log: createLog('test', 'silent'),
    subscribe(_subject: string, handle: (message: BusMessage) => unknown) {
      handlers.add(handle)
      return { stop: () => handlers.delete(handle) }
    },
  } as unknown as Bus // Nothing else of it is called.
  const changes = createJobChanges({ bus, clock: handClock().clock })
  const publish = (subject: string) => {
    for (const handle of handlers) handle({ subject } as BusMessage)
  }
  return { changes, publish, subscribers: () => handlers.size }
}

describe('job changes', () => {
  itKeepsTheRunnableContract(() => {
    const { changes, subscribers } = someChanges()
    return { runnable: changes, atWork: subscribers }
  })

  it('wake every watch of the job that an event names', async () => {
    const { changes, publish } = someChanges()
    await changes.start()
    const watches = [changes.watch(jobId), changes.watch(jobId)]
    const woken = watches.map((watch) => watch.next(1_000, never))
    publish(subjects.event('job.started', jobId))
    await Promise.all(woken)
  })

  it('wake a watch for a heartbeat that came between two waits, and then wait again', async () => {
    const { changes } = someChanges()
    const watch = changes.watch(jobId)
    changes.onBeat({ jobs: [{ jobId }] } as Beat)
    await watch.next(1_000, never)
    const abort = new AbortController()
    let isOver = false
    const waiting = watch.next(1_000, abort.signal).then(() => {
      isOver = true
    })
    changes.onBeat({ jobs: [{ jobId: randomUUID() }] } as Beat)
    await Promise.resolve()
    expect(isOver).toBe(false)
    abort.abort()
    await waiting
  })

  it('keep nothing of a watch that is closed', async () => {
    const { changes } = someChanges()
    const [closed, open] = [changes.watch(jobId), changes.watch(jobId)]
    closed.close()
    changes.onBeat({ jobs: [{ jobId }] } as Beat)
    await open.next(1_000, never)
  })
})
