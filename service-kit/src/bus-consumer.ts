import type { ConsumerSpec, DeadLetter, Timings } from '@avatar/contracts'
import { subjects } from '@avatar/contracts'
import type { JsMsg } from '@nats-io/jetstream'
import { type Bus, parseJson } from './bus.ts'
import type { Clock } from './clock.ts'
import { type AppError, asAppError } from './errors.ts'
import type { Runnable } from './lifecycle.ts'
import type { Log } from './log.ts'
import { continueTrace } from './trace.ts'

/** What a handler is told besides the message itself. */
export type Delivery = {
  subject: string
  sequence: number
  /** 1 for the first hand-over of the message. */
  deliveryCount: number
  traceparent: string
  log: Log
}

export type ConsumerLoopOptions = {
  bus: Bus
  spec: ConsumerSpec
  /** Messages worked on at the same time. */
  concurrency: number
  timings: Timings
  clock: Clock
  log: Log
  /** Returning acknowledges the message; throwing decides its fate by the failure table. */
  handle: (body: unknown, delivery: Delivery) => Promise<void>
  /** Told once of each message that went to the dead letters. */
  onDeadLetter?: (letter: DeadLetter, error: AppError) => void
}

/** A message fails for good at this failure, dependencies' failures not counted. */
const failuresUntilDeadLetter = 5

/**
 * Reads a durable consumer until it is stopped: ack on success; a rejected message goes to the dead
 * letters at once, any other at its fifth failure; while a dependency is away the message waits, for
 * ever if need be.
 */
export function consumerLoop(options: ConsumerLoopOptions): Runnable {
  const { bus, spec, clock, log, timings } = options
  const failuresOf = new Map<number, number>()
  let abort: AbortController | undefined
  let running: Promise<void> | undefined

  async function loop(signal: AbortSignal) {
    while (!signal.aborted) {
      try {
        await readWhileItLasts(signal)
      } catch (error) {
        if (!signal.aborted) log.warn({ err: error, consumer: spec.name }, 'reading again')
      }
      await clock.wait(250, signal)
    }
  }

  async function readWhileItLasts(signal: AbortSignal) {
    const consumer = await bus.consumer(spec)
    const messages = await consumer.consume({ max_messages: options.concurrency })
    const stop = () => messages.stop()
    signal.addEventListener('abort', stop, { once: true })
    const inHand = new Set<Promise<void>>()
    try {
      for await (const message of messages) {
        if (signal.aborted) {
          message.nak()
          continue
        }
        const work = deliver(message).finally(() => inHand.delete(work))
        inHand.add(work)
        if (inHand.size >= options.concurrency) await Promise.race(inHand)
      }
    } finally {
      signal.removeEventListener('abort', stop)
      await Promise.all(inHand)
      await messages.close()
    }
  }

  async function deliver(message: JsMsg) {
    const trace = continueTrace(message.headers?.get('traceparent'))
    const delivery: Delivery = {
      subject: message.subject,
      sequence: message.seq,
      deliveryCount: message.info.deliveryCount,
      traceparent: trace.traceparent,
      log: log.child({ subject: message.subject, traceId: trace.traceId }),
    }
    const working = setInterval(() => message.working(), spec.ackWaitMs / 3)
    try {
      await options.handle(parseJson(message.string()), delivery)
      message.ack()
      failuresOf.delete(message.seq)
    } catch (error) {
      await settleFailure(message, delivery, asAppError(error))
    } finally {
      clearInterval(working)
    }
  }

  async function settleFailure(message: JsMsg, delivery: Delivery, error: AppError) {
    const failed = (failuresOf.get(message.seq) ?? 0) + (error.isDependency ? 0 : 1)
    if (error.mayRetry && failed < failuresUntilDeadLetter) {
      failuresOf.set(message.seq, failed)
      const delayMs = error.isDependency
        ? timings.storeAwayNakMs
        : Math.min(timings.handlerBackoffMaxMs, timings.handlerBackoffMs * 2 ** (failed - 1))
      delivery.log.warn({ err: error, code: error.code }, 'message failed, trying again')
      message.nak(delayMs)
      return
    }
    failuresOf.delete(message.seq)
    await bury(message, delivery, error)
  }

  /** The dead letter is stored before the message is given up: a crash in between buries it twice. */
  async function bury(message: JsMsg, delivery: Delivery, error: AppError) {
    const letter: DeadLetter = {
      stream: spec.stream,
      consumer: spec.name,
      subject: message.subject,
      sequence: message.seq,
      reason: error.message,
      code: error.code,
      details: error.details,
      payload: message.string(),
      atMs: clock.nowMs(),
    }
    const messageId = `${spec.stream}:${message.seq}`
    await bus.publish(subjects.deadLetter(spec.stream, spec.name), letter, { messageId })
    options.onDeadLetter?.(letter, error)
    message.term(error.code)
    delivery.log.error({ err: error, code: error.code }, 'message went to the dead letters')
  }

  return {
    async start() {
      if (running) return
      abort = new AbortController()
      running = loop(abort.signal)
    },
    async stop() {
      abort?.abort()
      await running
      running = undefined
    },
  }
}
