import { scaledTimings } from '@avatar/contracts'
import { aJob, anEvent } from '@avatar/contracts/testing'
import { AppError, createLog, type Delivery } from '@avatar/service-kit'
import { describe, expect, it } from 'vitest'
import { onJobEvent } from './job-event.ts'

const delivery: Delivery = {
  ...{ subject: 'evt.job.submitted.x', sequence: 1, deliveryCount: 1, traceparent: '' },
  log: createLog('test', 'silent'),
  putBack: () => undefined,
}

/** A handler over a record that is there; what it publishes is the caller's. */
const handlerOf = (publishOutputs: () => Promise<void>) => {
  const value = aJob({ state: 'queued', epoch: 1 })
  const applied = { value, revision: 2, before: value.state, changed: true, answer: undefined }
  const writer = { find: async () => undefined, apply: async () => applied }
  const claim = async () => ({ outcome: 'unawaited' as const })
  return onJobEvent({ writer: { ...writer, claim }, publishOutputs, timings: scaledTimings(1) })
}

// Its consumer acknowledges an event when the handler returns.
describe('an event of a job', () => {
  it('is handled only once its outputs are stored', async () => {
    const stored = Promise.withResolvers<void>()
    let isHandled = false
    const handling = handlerOf(() => stored.promise)(anEvent('job.submitted'), delivery).then(
      () => {
        isHandled = true
      },
    )
    await new Promise(setImmediate)
    expect(isHandled).toBe(false)
    stored.resolve()
    await handling
  })

  it('is not handled when its outputs cannot be stored, so that it comes again', async () => {
    const failure = new AppError('BROKER_UNAVAILABLE')
    const handle = handlerOf(() => Promise.reject(failure))
    await expect(handle(anEvent('job.submitted'), delivery)).rejects.toBe(failure)
  })

  it('comes again while its record does not know its attempt, and is ignored after a while', async () => {
    let published = 0
    const publish = async () => {
      published++
    }
    const handle = handlerOf(publish)
    const event = anEvent('render.started', { epoch: 2 })
    const putBack: number[] = []
    for (let deliveryCount = 1; deliveryCount <= 12; deliveryCount++) {
      const again = () => void putBack.push(deliveryCount)
      await handle(event, { ...delivery, deliveryCount, putBack: again })
    }
    expect(putBack).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(published).toBe(3)
  })
})
