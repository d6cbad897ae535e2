import { spanAttributes } from '@avatar/contracts'
import { describeSpan, isTracing, writeSpan } from '@avatar/service-kit'
import type { Transition } from '../records/job-writer.ts'
import { attemptOf, type SpanFacts, spansOf } from './spans.ts'

/** Writes what a change of a job's state calls for, and tells the span of the message what it reached. */
export function createWriteSpans(facts: SpanFacts) {
  return (transition: Transition): void => {
    if (!isTracing()) return
    const { after } = transition
    describeSpan({ ...attemptOf(after), [spanAttributes.state]: after.state })
    for (const span of spansOf(transition, facts)) writeSpan(span)
  }
}
