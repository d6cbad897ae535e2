import { messagingAttributes, spanAttributes, templateOf } from '@avatar/contracts'
import { headers, type MsgHdrs } from '@nats-io/transport-node'
import type { PublishOutcome } from './bus-publish.ts'
import { childOf, continueTrace, parseTrace, type Trace } from './trace.ts'
import { activeTrace, isTracing, type OpenSpan, openSpan } from './tracing.ts'

/** Of the span that sent the message. NATS knows small and capital letters apart. */
const traceHeader = 'traceparent'
/** Of the job that the message is about, where it was sent in another trace, as a deletion is. */
const jobTraceHeader = 'job-traceparent'

/** Headers that carry a trace. */
export function traceHeaders(traceparent: string | undefined): MsgHdrs {
  const message = headers()
  if (traceparent) message.set(traceHeader, traceparent)
  return message
}

/**
 * Publishes under a span, which is the parent of whatever handles the message. It hangs below the active
 * span, or else below the one that is given. Without a trace to hang in, the message takes what is given.
 *
 * What the broker had already is no message, and leaves no span.
 */
export async function producing(
  subject: string,
  { messageId, traceparent }: { messageId?: string | undefined; traceparent?: string | undefined },
  publish: (carried: MsgHdrs) => Promise<PublishOutcome>,
): Promise<PublishOutcome> {
  const parent = isTracing() ? (activeTrace() ?? parseTrace(traceparent)) : undefined
  if (!parent?.isSampled) return publish(traceHeaders(traceparent))
  const trace = childOf(parent)
  const carried = traceHeaders(trace.traceparent)
  const given = parseTrace(traceparent)
  if (traceparent && given && given.traceId !== trace.traceId)
    carried.set(jobTraceHeader, traceparent)
  const span = openSpan(`publish ${templateOf(subject).template}`, {
    trace,
    kind: 'producer',
    attributes: {
      ...messagingAttributes.publish,
      ...aboutMessage(subject, messageId),
    },
  })
  try {
    const outcome = await publish(carried)
    if (outcome === 'stored') span.end()
    return outcome
  } catch (error) {
    span.fail(error)
    span.end()
    throw error
  }
}

/** How a delivery hangs in its trace. */
export type DeliveryTrace = {
  /** The step of the delivery itself. */
  trace: Trace
  /** The trace of the job, if that is another one. */
  jobTrace?: Trace
  /** What else it comes from, each a `traceparent`. */
  links?: readonly string[]
}

/** Chooses how a delivery hangs in its trace, by the message's `traceparent` and subject. */
export type TraceDelivery = (traceparent: string | undefined, subject: string) => DeliveryTrace

/** A delivery below whoever published the message. */
export const belowPublisher: TraceDelivery = (traceparent) => ({
  trace: continueTrace(traceparent),
})

/** Begins the span of a delivery; `jobTrace` is what its log lines and its job belong to. */
export function consuming(
  message: { subject: string; headers?: MsgHdrs | undefined; info: { deliveryCount: number } },
  consumer: string,
  traceDelivery: TraceDelivery = belowPublisher,
): { span: OpenSpan; jobTrace: Trace } {
  const { subject } = message
  const read = (name: string) => message.headers?.get(name) || undefined
  const { trace, links, jobTrace } = traceDelivery(read(traceHeader), subject)
  const jobHeader = read(jobTraceHeader)
  const span = openSpan(`process ${templateOf(subject).template}`, {
    trace,
    kind: 'consumer',
    ...(links ? { links } : {}),
    attributes: {
      ...messagingAttributes.process,
      ...aboutMessage(subject, read('Nats-Msg-Id')),
      [spanAttributes.messagingConsumer]: consumer,
      [spanAttributes.delivery]: message.info.deliveryCount,
    },
  })
  return { span, jobTrace: jobHeader ? continueTrace(jobHeader) : (jobTrace ?? trace) }
}

function aboutMessage(subject: string, messageId: string | undefined) {
  const { template, jobId } = templateOf(subject)
  return {
    [spanAttributes.messagingTemplate]: template,
    [spanAttributes.messagingId]: messageId,
    ...(jobId === undefined ? {} : { [spanAttributes.jobId]: jobId }),
  }
}
