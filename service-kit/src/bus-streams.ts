import { buckets, type ConsumerSpec } from '@avatar/contracts'
import { JetStreamError, type JetStreamManager } from '@nats-io/jetstream'
import { z } from 'zod'
import { publishTryMs } from './bus-publish.ts'
import { AppError } from './errors.ts'

/** A message stored in a stream, read directly. */
export type StoredMessage = { subject: string; sequence: number; body: unknown }

/** How full a stream is. */
export type StreamState = {
  messages: number
  bytes: number
  /** −1 for no limit. */
  maxMessages: number
  maxBytes: number
  /** Whether a full stream refuses what is published, rather than dropping its oldest message. */
  refusesWhenFull: boolean
  /** Undefined when it is empty. */
  firstSequence: number | undefined
  /** Of all messages that it ever stored. Deleting them does not turn it back. */
  lastSequence: number
}

/** How far the reader of a consumer is. */
export type ConsumerState = { pending: number; ackPending: number; redelivered: number }

/** What can be read of streams and consumers. Every failure is BROKER_UNAVAILABLE. */
export type StreamReader = ReturnType<typeof streamReader>

type ConsumerName = Pick<ConsumerSpec, 'stream' | 'name'>

/** Every answer about a stream carries the broker's time. The client library's type leaves it out. */
const timedAnswerSchema = z.object({ ts: z.coerce.date() })
/** Every service may ask about this stream. */
const timeSubject = `$JS.API.STREAM.INFO.KV_${buckets.job.name}`

export function streamReader(
  manager: JetStreamManager,
  request: (subject: string, body: unknown, options: { timeoutMs: number }) => Promise<unknown>,
) {
  return {
    /** Messages of a stream on a subject (wildcards allowed) from a sequence on, oldest first. */
    async readStream(
      stream: string,
      subject: string,
      fromSequence: number,
      max: number,
    ): Promise<StoredMessage[]> {
      try {
        const found = await manager.direct.getBatch(stream, {
          seq: fromSequence,
          next_by_subj: subject,
          batch: max,
        })
        const messages: StoredMessage[] = []
        for await (const message of found)
          messages.push({ subject: message.subject, sequence: message.seq, body: message.json() })
        return messages
      } catch (error) {
        if (isNotFound(error)) return []
        throw new AppError('BROKER_UNAVAILABLE', { cause: error })
      }
    },
    /** The newest message of a stream on a subject (wildcards allowed). */
    async lastMessage(stream: string, subject: string): Promise<StoredMessage | undefined> {
      const message = await orUnavailable(
        manager.direct.getMessage(stream, { last_by_subj: subject }),
      )
      if (message === null) return undefined
      return { subject: message.subject, sequence: message.seq, body: message.json() }
    },
    async streamState(stream: string): Promise<StreamState> {
      const { config, state } = await orUnavailable(manager.streams.info(stream))
      return {
        messages: state.messages,
        bytes: state.bytes,
        maxMessages: config.max_msgs,
        maxBytes: config.max_bytes,
        refusesWhenFull: config.discard === 'new',
        firstSequence: state.messages === 0 ? undefined : state.first_seq,
        lastSequence: state.last_seq,
      }
    },
    async consumerState({ stream, name }: ConsumerName): Promise<ConsumerState> {
      const found = await orUnavailable(manager.consumers.info(stream, name))
      return {
        pending: found.num_pending,
        ackPending: found.num_ack_pending,
        redelivered: found.num_redelivered,
      }
    },
    /**
     * The consumer's ack floor: a message at or before this stream sequence is never delivered again,
     * whether or not the stream still has it.
     */
    async ackFloor({ stream, name }: ConsumerName): Promise<number> {
      return (await orUnavailable(manager.consumers.info(stream, name))).ack_floor.stream_seq
    },
    /** The broker's clock at the moment of its answer, in milliseconds since 1970. */
    async timeMs(): Promise<number> {
      const answer = await request(timeSubject, {}, { timeoutMs: publishTryMs })
      const timed = timedAnswerSchema.safeParse(answer)
      if (timed.success) return timed.data.ts.getTime()
      throw new AppError('BROKER_UNAVAILABLE', { details: { subject: timeSubject } })
    },
    /** Resets a consumer, so that it delivers everything from a sequence on again. */
    async resetConsumer({ stream, name }: ConsumerName, toSequence: number): Promise<void> {
      // The client library has no call for this request.
      const subject = `$JS.API.CONSUMER.RESET.${stream}.${name}`
      const answer = await request(subject, { seq: toSequence }, { timeoutMs: publishTryMs })
      const isDone = typeof answer === 'object' && answer !== null && !('error' in answer)
      if (!isDone) throw new AppError('BROKER_UNAVAILABLE', { details: { subject } })
    },
  }
}

/** @throws AppError BROKER_UNAVAILABLE around whatever the call failed with */
export async function orUnavailable<T>(call: Promise<T>): Promise<T> {
  try {
    return await call
  } catch (error) {
    throw new AppError('BROKER_UNAVAILABLE', { cause: error })
  }
}

/** A direct get that found nothing: the library does not export the class that has the code. */
function isNotFound(error: unknown): boolean {
  return error instanceof JetStreamError && 'code' in error && error.code === 404
}
