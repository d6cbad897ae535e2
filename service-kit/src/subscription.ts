import type { z } from 'zod'
import type { Runnable } from './background.ts'
import type { Bus, BusMessage } from './bus.ts'
import { asAppError, parseMessage } from './errors.ts'
import { logFailure } from './log.ts'

type SubscriptionOptions<S extends z.ZodType> = {
  bus: Bus
  subject: string
  /** One member of the queue group receives each message. */
  queue?: string
  schema: S
}

/**
 * Handles the messages of a core subject. A message that does not follow its schema is logged and
 * ignored: nobody delivers it again. `stop` waits for what is being handled.
 */
export function subscription<S extends z.ZodType>(
  options: SubscriptionOptions<S> & {
    handle: (body: z.output<S>) => Promise<void> | void
  },
): Runnable {
  const { schema, handle } = options
  return receiver(options, async (message) => handle(parseMessage(schema, message.json())))
}

/**
 * Answers requests as one member of a queue group. A failure is answered too, by its code, so that the
 * requester need not wait for its timeout. Without an answer none is sent: nobody waits for it any more.
 * `stop` waits until every request in hand is dealt with.
 */
export function responder<S extends z.ZodType>(
  options: SubscriptionOptions<S> & {
    answer: (
      body: z.output<S>,
      traceparent: string | undefined,
      subject: string,
    ) => Promise<unknown>
  },
): Runnable {
  const { bus, schema, answer } = options
  return receiver(options, async (message) => {
    try {
      const body = parseMessage(schema, message.json())
      const answered = await answer(body, message.traceparent, message.subject)
      if (answered !== undefined) message.respond(answered)
    } catch (error) {
      logFailure(bus.log, error, 'request failed', { subject: message.subject })
      message.respond({ answer: 'error', code: asAppError(error).code })
    }
  })
}

function receiver(
  { bus, subject, queue }: Omit<SubscriptionOptions<z.ZodType>, 'schema'>,
  receive: (message: BusMessage) => Promise<void>,
): Runnable {
  const inHand = new Set<Promise<void>>()
  let subscribed: { stop(): void } | undefined
  return {
    async start() {
      subscribed ??= bus.subscribe(
        subject,
        (message) => {
          const work = receive(message)
            .catch((error) =>
              logFailure(bus.log, error, 'message ignored', { subject: message.subject }),
            )
            .finally(() => inHand.delete(work))
          inHand.add(work)
          return work
        },
        queue ? { queue } : {},
      )
    },
    async stop() {
      subscribed?.stop()
      subscribed = undefined
      await Promise.all(inHand)
    },
  }
}
