import { addAbortListener } from 'node:events'
import { type ConsumerSpec, type DeadLetter, subjects, type Timings } from '@avatar/contracts'
import type { JsMsg } from '@nats-io/jetstream'
import type { z } from 'zod'
import { background, type Runnable } from './background.ts'
import { type Bus, parseJson } from './bus.ts'
import type { Clock } from './clock.ts'
import { type AppError, asAppError, parseMessage } from './errors.ts'
import { type Log, logFailure } from './log.ts'
import type { Metrics } from './telemetry.ts'
import { continueTrace } from './trace.ts'

/** What a handler is told besides the message itself. */
export type Delivery = {
  subject: string
  sequence: number
  /** 1 for the first delivery of the message. */
  deliveryCount: number
  traceparent: string
  log: Log
}

export type ConsumerLoopOptions<S extends z.ZodType> = {
  bus: Bus
  spec: ConsumerSpec
  /** Messages handled at the same time. */
  concurrency: number
  timings: Timings
  clock: Clock
  log: Log
  metrics: Pick<Metrics, 'countDeadLetter'>
  /** A message that does not follow it is rejected and never reaches the handler. */
  schema: S
  /** Returning acknowledges the message. Throwing decides its fate by the failure table. */
  handle: (body: z.output<S>, delivery: Delivery) => Promise<void>
  /** Called before a message is dead-lettered. `body` is its JSON, or undefined where it is none. */
  onReject?: (error: AppError, body: unknown, delivery: Delivery) => Promise<void>
}

/** A message is dead-lettered at its fifth failure. Failures of a dependency do not count. */
const failuresUntilDeadLetter = 5
const readAgainMs = 250
/** A healthy pull tells of itself at least every 30 s; ten times that is silence. */
const silentForMs = 300_000

/**
 * Reads a durable consumer until it is stopped. It acknowledges a message once it is handled. A
 * rejected message is dead-lettered at once, any other at its fifth failure. While a dependency is
 * away the message is redelivered, however long that takes.
 */
export function consumerLoop<S extends z.ZodType>(options: ConsumerLoopOptions<S>): Runnable {
  const { bus, spec, clock, log, timings } = options
  const failuresOf = new Map<number, number>()
  let isBound = false

  async function readWhileItLasts(signal: AbortSignal, turned: () => void) {
    const consumer = await bus.consumer(spec)
    const messages = await consumer.consume({ max_messages: options.concurrency })
    const listening = addAbortListener(signal, () => messages.stop())
    const inHand = new Set<Promise<void>>()
    isBound = true
    void (async () => {
      for await (const _status of messages.status()) turned()
    })()
    try {
      for await (const message of messages) {
        turned()
        if (signal.aborted) {
          message.nak()
          continue
        }
        const work = deliver(message, turned).finally(() => inHand.delete(work))
        inHand.add(work)
        if (inHand.size >= options.concurrency) await Promise.race(inHand)
      }
    } finally {
      isBound = false
      listening[Symbol.dispose]()
      await Promise.all(inHand)
      await messages.close()
    }
  }

  async function deliver(message: JsMsg, turned: () => void) {
    const trace = continueTrace(message.headers?.get('traceparent'))
    const delivery: Delivery = {
      subject: message.subject,
      sequence: message.seq,
      deliveryCount: message.info.deliveryCount,
      traceparent: trace.traceparent,
      log: log.child({ subject: message.subject, traceId: trace.traceId }),
    }
    const working = setInterval(() => {
      message.working()
      // A handler that waits for a dependency keeps the loop from pulling: no restart would help.
      turned()
    }, spec.ackWaitMs / 3)
    let body: unknown
    try {
      body = parseJson(message.string())
      await options.handle(parseMessage(options.schema, body), delivery)
      message.ack()
      failuresOf.delete(message.seq)
    } catch (error) {
      await settleFailure(message, delivery, asAppError(error), body).catch((failure) =>
        // Nothing settled it: the broker redelivers it once its acknowledgement is overdue.
        logFailure(delivery.log, failure, 'failed message not settled'),
      )
    } finally {
      clearInterval(working)
    }
  }

  async function settleFailure(
    message: JsMsg,
    delivery: Delivery,
    error: AppError,
    body: unknown,
  ): Promise<void> {
    const failed = (failuresOf.get(message.seq) ?? 0) + (error.isDependency ? 0 : 1)
    if (error.mayRetry && failed < failuresUntilDeadLetter) {
      failuresOf.set(message.seq, failed)
      const delayMs = error.isDependency
        ? timings.storeAwayNakMs
        : Math.min(timings.handlerBackoffMaxMs, timings.handlerBackoffMs * 2 ** (failed - 1))
      logFailure(delivery.log, error, 'message failed, it will be redelivered')
      message.nak(delayMs)
      return
    }
    failuresOf.delete(message.seq)
    await options.onReject?.(error, body, delivery)
    await deadLetter(message, delivery, error)
  }

  /** Stored before the message is terminated: a crash in between dead-letters it twice. */
  async function deadLetter(message: JsMsg, delivery: Delivery, error: AppError) {
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
    options.metrics.countDeadLetter(spec.name, error.code)
    message.term(error.code)
    logFailure(delivery.log, error, 'message dead-lettered')
  }

  const loop = background({
    name: `consumer ${spec.name}`,
    everyMs: readAgainMs,
    silentForMs,
    clock,
    log,
    pass: readWhileItLasts,
  })
  return { ...loop, isReady: () => isBound }
}
