import { messagingAttributes, type SpanName, spanAttributes, spanNames } from '@avatar/contracts'

/** The part of `service-kit` by which services write spans, of whatever checkout is measured. */
export type Kit = typeof import('../../service-kit/src/index.ts')

const turn = () => new Promise<void>((done) => setImmediate(done))

/** Writes what ingest writes of a job: 8 spans. @returns what the job's record keeps */
export async function spansOfIngest(kit: Kit, jobId: string): Promise<string> {
  const trace = kit.beginTrace(undefined, kit.isTracing() ? 1 : 0)
  const request = kit.openSpan('POST /generate', {
    ...{ trace, kind: 'server', agoMs: 3 },
    attributes: {
      [spanAttributes.httpMethod]: 'POST',
      [spanAttributes.httpRoute]: '/generate',
      [spanAttributes.owner]: 'owner-of-the-bench',
    },
  })
  await request.run(async () => {
    kit.describeSpan({ [spanAttributes.jobId]: jobId })
    await kit.withSpan(spanNames.readUpload, { [spanAttributes.bytes]: 500_000 }, async () => {
      await Promise.all([
        kit.withSpan(spanNames.checkImage, {}, turn),
        kit.withSpan(spanNames.checkAudio, { [spanAttributes.audioSeconds]: 1.5 }, turn),
        kit.withSpan(spanNames.storeImage, { [spanAttributes.bytes]: 90_000 }, turn, 'client'),
        kit.withSpan(spanNames.storeAudio, { [spanAttributes.bytes]: 410_000 }, turn, 'client'),
      ])
    })
    await kit.withSpan(spanNames.createRecord, {}, turn)
    await publish(kit, 'evt.job.submitted.{job}', jobId)
  })
  request.set({ [spanAttributes.httpStatus]: 201 })
  request.end()
  return trace.traceparent
}

/** Writes what the orchestrator writes of a job: 14 spans, 3 of them by their times. */
export async function spansOfOrchestrator(kit: Kit, jobId: string, traceparent: string) {
  const job = { jobId, epoch: 1, traceparent }
  const about = { [spanAttributes.jobId]: jobId, [spanAttributes.attempt]: 1 }
  const fromMs = Date.now() - 1_000
  const over = { fromMs, toMs: fromMs + 900.25 }
  const attempt = kit.attemptTraceparent(job)
  const answered = { ...about, [spanAttributes.answer]: 'render' }

  await handle(kit, 'evt.job.submitted.{job}', job, async () => {
    await publish(kit, 'evt.job.queued.{job}', jobId)
  })
  kit.writeSpan({
    ...{ name: spanNames.queue, id: kit.spanIdOf(jobId, 1, 'queue') },
    ...{ parent: kit.jobTraceparent(job), ...over },
    attributes: { ...about, [spanAttributes.start]: 'warm' },
  })
  kit.writeSpan({
    ...{ name: spanNames.answerClaim, kind: 'server', parent: attempt, ...over },
    attributes: answered,
  })
  await handle(kit, 'evt.render.started.{job}', job, async () => {
    await publish(kit, 'evt.job.started.{job}', jobId)
  })
  kit.writeSpan({
    ...{ name: spanNames.answerStore, kind: 'server', parent: attempt, ...over },
    attributes: answered,
  })
  await handle(kit, 'evt.render.completed.{job}', job, async () => {
    await kit.withSpan(spanNames.verify, {}, turn, 'client')
    kit.writeSpan({
      ...{ name: spanNames.attempt, id: kit.spanIdOf(jobId, 1) },
      ...{ parent: kit.jobTraceparent(job), ...over },
      attributes: {
        ...{ ...about, [spanAttributes.worker]: 'worker-of-the-bench' },
        [spanAttributes.outcome]: 'completed',
      },
    })
    kit.writeSpan({
      ...{ name: spanNames.job, id: kit.spanIdOf(jobId), parent: traceparent, ...over },
      attributes: {
        ...{ [spanAttributes.jobId]: jobId, [spanAttributes.outcome]: 'completed' },
        ...{ [spanAttributes.attempts]: 1, [spanAttributes.audioSeconds]: 1.5 },
        ...{ [spanAttributes.engine]: 'null', [spanAttributes.door]: 'rest' },
        ...{ [spanAttributes.owner]: 'owner-of-the-bench', [spanAttributes.costUsd]: 0.0012 },
      },
    })
    await publish(kit, 'sched.delete.{job}', jobId)
    await publish(kit, 'evt.job.completed.{job}', jobId)
    await publish(kit, 'ledger.job.{month}.{day}.{owner}.{job}', jobId)
  })
}

async function handle(
  kit: Kit,
  template: string,
  { jobId, traceparent }: { jobId: string; traceparent: string },
  work: () => Promise<void>,
) {
  const span = kit.openSpan(`process ${template}`, {
    ...{ trace: kit.continueTrace(traceparent), kind: 'consumer' },
    attributes: {
      ...messagingAttributes.process,
      ...aboutMessage(template, jobId),
      [spanAttributes.messagingConsumer]: 'orchestrator',
      [spanAttributes.delivery]: 1,
    },
  })
  await span.run(async () => {
    kit.describeSpan({ [spanAttributes.attempt]: 1, [spanAttributes.state]: 'rendering' })
    await work()
  })
  span.end()
}

async function publish(kit: Kit, template: string, jobId: string) {
  const parent = kit.activeTrace()
  if (!parent) return turn()
  const name: SpanName = `publish ${template}`
  const span = kit.openSpan(name, {
    ...{ trace: kit.childOf(parent), kind: 'producer' },
    attributes: { ...messagingAttributes.publish, ...aboutMessage(template, jobId) },
  })
  await turn()
  span.end()
}

function aboutMessage(template: string, jobId: string) {
  return {
    [spanAttributes.messagingTemplate]: template,
    [spanAttributes.messagingId]: `${jobId}:${template}`,
    [spanAttributes.jobId]: jobId,
  }
}

/** What a worker says of a job: 9 spans of usual size, in one message of OTLP/JSON. */
export function saidByWorker(jobId: string): Buffer {
  const attribute = (key: string, stringValue: string) => ({ key, value: { stringValue } })
  const spans = Array.from({ length: 9 }, (_, at) => ({
    ...{ traceId: 'a'.repeat(32), spanId: String(at).padStart(16, 'b'), name: 'finish file' },
    ...{ kind: 1, startTimeUnixNano: '1700000000000000000' },
    ...{ endTimeUnixNano: '1700000000250000000' },
    attributes: [attribute('avatar.job.id', jobId), attribute('avatar.engine', 'null')],
  }))
  const resource = { attributes: [attribute('service.name', 'sidecar')] }
  return Buffer.from(JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans }] }] }))
}
