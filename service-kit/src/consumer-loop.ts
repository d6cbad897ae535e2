import { addAbortListener } from 'node:events'
import { type ConsumerSpec, type DeadLetter, subjects, type Timings } from '@avatar/contracts'
import type { JsMsg } from '@nats-io/jetstream'
import type { z } from 'zod'
import { background, type Runnable } from './background.ts'
import { type Bus, parseJson } from './bus.ts'
import { consuming, type TraceDelivery } from './bus-spans.ts'
import type { Clock } from './clock.ts'
import { type AppError, asAppError, parseMessage } from './errors.ts'
import { type Log, logFailure } from './log.ts'
import type { Metrics } from './metrics.ts'
import { scrubDetails, scrubSecrets } from './scrub.ts'
import type { Trace } from './trace.ts'

/** What a handler is told besides the message itself. */
export type Delivery = {
  subject: string
  sequence: number
  /** 1 for the first delivery of the message. */
  deliveryCount: number
  /** Of the job that the message is about. */
  traceparent: string
  log: Log
  /** Has the message redelivered after this time instead of acknowledging it. It counts as no failure. */
  putBack(ms: number): void
}

export type ConsumerLoopOptions<S extends z.ZodType> = {
  bus: Bus
  spec: ConsumerSpec
  /** Messages handled at the same time. */
  concurrency: number
  timings: Timings
  clock: Clock
  log: Log
  metrics: Pick<Metrics, 'countDeadLetter' | 'beginDeadLetters'>
  /** A message that does not follow it is rejected and never reaches the handler. */
  schema: S
  /**
   * Returning acknowledges the message, unless it was put back. Throwing decides its fate by the failure
   * table; an error that carries `retryAfterMs` only has it redelivered after that time.
   */
  handle: (body: z.output<S>, delivery: Delivery) => Promise<void>
  /** How deliveries hang in their traces; by default, below the span that published the message. */
  traceDelivery?: TraceDelivery
  /** Called before a message is dead-lettered. `body` is its JSON, or undefined where it is none. */
  onReject?: (error: AppError, body: unknown, delivery: Delivery) => Promise<void>
}

/** A message is dead-lettered at its fifth failure. Failures of a dependency do not count. */
const failuresUntilDeadLetter = 5
const readAgainMs = 250
/**
 * A pull ends with the leader of its consumer, of which nobody is told: two heartbeats that fail to come are a new
 * pull. `bind` has it made at once; else the library asks for the consumer first, and again only after `expires`
 * where that has no leader yet. A pull that was not lost lives on beside the new one until it expires.
 */
const pulling = { idle_heartbeat: 500, expires: 10_000, bind: true } as const
/** A healthy pull tells of itself twice a second; this is silence. */
const silentForMs = 300_000

/**
 * Reads a durable consumer until it is stopped. It acknowledges a message once it is handled. A
 * rejected message is dead-lettered at once, any other at its fifth failure. While a dependency is
 * away, or an error names the time to wait, the message is redelivered, however long that takes.
 */
export function consumerLoop<S extends z.ZodType>(options: ConsumerLoopOptions<S>): Runnable {
  const { bus, spec, clock, log, timings } = options
  const failuresOf = new Map<number, number>()
  let isBound = false
  options.metrics.beginDeadLetters(spec.name)

  async function readWhileItLasts(signal: AbortSignal, turned: () => void) {
    const consumer = await bus.consumer(spec)
    const messages = await consumer.consume({ max_messages: options.concurrency, ...pulling })
    const listening = addAbortListener(signal, () => messages.stop())
    const inHand = new Map<JsMsg, Promise<void>>()
    const isOver = new AbortController()
    void tellOfWork(inHand, turned, isOver.signal)
    isBound = true
    void (async () => {
      for await (const { type } of messages.status()) {
        turned()
        if (type === 'heartbeats_missed') bus.noteSilence()
      }
    })()
    try {
      for await (const message of messages) {
        turned()
        if (signal.aborted) {
          message.nak()
          continue
        }
        const work = deliver(message).finally(() => inHand.delete(message))
        inHand.set(message, work)
        if (inHand.size >= options.concurrency) await Promise.race(inHand.values())
      }
    } finally {
      isBound = false
      listening[Symbol.dispose]()
      await Promise.all(inHand.values())
      isOver.abort()
      await messages.close()
    }
  }

  /** One span for each delivery, but for those that only have to wait: thousands may. */
  async function deliver(message: JsMsg) {
    const { span, jobTrace } = consuming(message, spec.name, options.traceDelivery)
    const outcome = await span.run(() => handle(message, jobTrace))
    if (outcome === 'has to wait') return
    if (outcome !== 'handled') span.fail(outcome)
    span.end()
  }

  /** @returns what failed, if anything did */
  async function handle(message: JsMsg, { traceId, traceparent }: Trace) {
    let putBackForMs: number | undefined
    const delivery: Delivery = {
      subject: message.subject,
      sequence: message.seq,
      deliveryCount: message.info.deliveryCount,
      traceparent,
      log: log.child({ subject: message.subject, traceId }),
      putBack(ms) {
        putBackForMs = ms
      },
    }
    let body: unknown
    try {
      body = parseJson(message.string())
      await options.handle(parseMessage(options.schema, body), delivery)
      if (putBackForMs === undefined) message.ack()
      else message.nak(putBackForMs)
      failuresOf.delete(message.seq)
      return putBackForMs === undefined ? 'handled' : 'has to wait'
    } catch (thrown) {
      const error = asAppError(thrown)
      await settleFailure(message, delivery, error, body).catch((failure) =>
        // Nothing settled it: the broker redelivers it once its acknowledgement is overdue.
        logFailure(delivery.log, failure, 'failed message not settled'),
      )
      return error.retryAfterMs === undefined ? error : 'has to wait'
    }
  }

  /**
   * What takes long, the broker would deliver to somebody else. One timer serves all: most messages are handled
   * before its first turn, and one for each of them would have to be made and taken down again.
   */
  async function tellOfWork(
    inHand: ReadonlyMap<JsMsg, unknown>,
    turned: () => void,
    isOver: AbortSignal,
  ) {
    for (;;) {
      await clock.wait(spec.ackWaitMs / 3, isOver)
      if (isOver.aborted) return
      for (const message of inHand.keys()) message.working()
      // A handler that waits for a dependency keeps the loop from pulling: no restart would help.
      if (inHand.size > 0) turned()
    }
  }

  async function settleFailure(
    message: JsMsg,
    delivery: Delivery,
    error: AppError,
    body: unknown,
  ): Promise<void> {
    if (error.retryAfterMs !== undefined) {
      const { code, retryAfterMs } = error
      // Thousands may wait, and none of them has failed.
      delivery.log.debug({ code, retryAfterMs }, 'message has to wait, it will be redelivered')
      message.nak(Math.ceil(retryAfterMs))
      return
    }
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
      reason: scrubSecrets(error.message),
      code: error.code,
      details: scrubDetails(error.details),
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
