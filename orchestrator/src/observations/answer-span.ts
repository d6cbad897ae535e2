import { type JobRecord, type SpanName, spanAttributes } from '@avatar/contracts'
import { attemptTraceparent, type Clock, writeSpan } from '@avatar/service-kit'
import { attemptOf } from './spans.ts'

/** The attempt that a worker asks about. */
type Asked = Pick<JobRecord, 'jobId' | 'epoch' | 'traceparent'>

/** Answers a worker, and writes a span below its attempt: from the question on, or the claim it brought. */
export async function answering<A extends { answer: string }>(
  clock: Pick<Clock, 'nowMs'>,
  name: SpanName,
  { attempt, fromMs }: { attempt: Asked; fromMs: number },
  answer: () => Promise<A>,
): Promise<A> {
  const span = {
    ...{ name, kind: 'server' as const, parent: attemptTraceparent(attempt), fromMs },
    attributes: attemptOf(attempt),
  }
  try {
    const answered = await answer()
    const attributes = { ...span.attributes, [spanAttributes.answer]: answered.answer }
    writeSpan({ ...span, attributes, toMs: clock.nowMs() })
    return answered
  } catch (error) {
    writeSpan({ ...span, isError: true, toMs: clock.nowMs() })
    throw error
  }
}
