/** A deliberate fault: one change of one file, which some test must notice. */
export type PlantedFault = {
  /** What the system would do wrong. */
  readonly what: string
  readonly file: string
  /** Occurs exactly once in the file. */
  readonly find: string
  readonly replace: string
  /** The test files that should notice it. */
  readonly tests: readonly string[]
}

const states = 'orchestrator/src/states'
const decide = `${states}/decide.ts`
const retry = `${states}/retry.ts`
const outputs = 'orchestrator/src/outputs/outputs.ts'
const publishOutputs = 'orchestrator/src/outputs/publish-outputs.ts'
const liveness = 'orchestrator/src/liveness/liveness.ts'
const watch = 'orchestrator/src/liveness/watch-workers.ts'
const claim = 'orchestrator/src/requests/claim.ts'
const storage = 'orchestrator/src/storage/render-completed.ts'

const ofDecide = [`${states}/decide.test.ts`, `${states}/state-table.test.ts`]
const ofRetry = [`${states}/retry.test.ts`, `${states}/decide.test.ts`]
const ofLiveness = ['orchestrator/src/liveness/liveness.test.ts']
const ofSimulation = ['orchestrator/test/simulation.test.ts']
const ofServices = ['orchestrator/test/orchestrator.test.ts', 'orchestrator/test/messages.test.ts']

/** Faults in the places that decide whether and how a job ends. */
export const plantedFaults: readonly PlantedFault[] = [
  {
    what: 'a deletion is noted again and again',
    file: decide,
    find: '      if (job.deletedAtMs !== undefined) return nothing\n',
    replace: '',
    tests: ofDecide,
  },
  {
    what: 'a failed or cancelled job comes back',
    file: decide,
    find: 'if (isTerminal(job)) return decideTerminal',
    replace: "if (job.state === 'completed') return decideTerminal",
    tests: ofDecide,
  },
  {
    what: 'a stale worker is believed',
    file: decide,
    find: 'message.epoch === job.epoch && hasOpenAttempt(job)',
    replace: 'hasOpenAttempt(job)',
    tests: ofDecide,
  },
  {
    what: 'two attempts share an epoch',
    file: decide,
    find: 'epoch: job.epoch + 1',
    replace: 'epoch: Math.max(1, job.epoch)',
    tests: ofDecide,
  },
  {
    what: 'a claimed job is given to everybody who asks',
    file: decide,
    find: "job.state === 'claimed' && job.worker?.ask === ask",
    replace: "job.state === 'claimed'",
    tests: ofDecide,
  },
  {
    what: 'a job loses its turn at each attempt',
    file: decide,
    find: 'turn: job.turn ?? {',
    replace: 'turn: {',
    tests: ofDecide,
  },
  {
    what: 'a clock that is set back stops a job for hours',
    file: decide,
    find: 'return waitMs > 0 && waitMs <= 2 * rules.timings.deathBackoffMaxMs',
    replace: 'return waitMs > 0',
    tests: ofDecide,
  },
  {
    what: 'a stored render is rendered again',
    file: decide,
    find: 'whatever happens to the worker.\n  if (job.uploaded) return nothing',
    replace: 'whatever happens to the worker.',
    tests: ofDecide,
  },
  {
    what: 'a cancelled job is stored',
    file: decide,
    find: "      if (job.state === 'cancelling') return { answer: { answer: 'stop' } }\n",
    replace: '',
    tests: ofDecide,
  },
  {
    what: 'a waiting job that is cancelled goes on',
    file: decide,
    find: "return { job: finished(job, 'cancelled', rules) }",
    replace: 'return nothing',
    tests: ofDecide,
  },
  {
    what: 'an attempt that another follows is charged',
    file: decide,
    find: 'const isCharged = end.isCharged && !retry.again',
    replace: 'const isCharged = end.isCharged',
    tests: ofDecide,
  },
  {
    what: 'a job that renders times out in the queue',
    file: decide,
    find: "return hasOpenAttempt(job) ? nothing : { job: failed(job, 'QUEUE_TIMEOUT', {}, rules) }",
    replace: "return { job: failed(job, 'QUEUE_TIMEOUT', {}, rules) }",
    tests: ofDecide,
  },
  {
    what: 'one death more than agreed',
    file: retry,
    find: 'if (deaths >= attemptLimits.deaths)',
    replace: 'if (deaths > attemptLimits.deaths)',
    tests: ofRetry,
  },
  {
    what: 'a cheap loss counts as a death',
    file: retry,
    find: "if (job.state !== 'claimed') return afterDeath",
    replace: "if (job.state === 'claimed') return afterDeath",
    tests: ofRetry,
  },
  {
    what: 'a failure that nothing helps is tried again',
    file: retry,
    find: "if (failures[code].outcome === 'reject') return { again: false, code, counted: {} }",
    replace: '',
    tests: ofRetry,
  },
  {
    what: 'an outage of ours costs renders',
    file: liveness,
    find: 'return isQuiet && nowMs - graceSinceMs > timings.watchGraceMs',
    replace: 'return isQuiet',
    tests: ofLiveness,
  },
  {
    what: 'a restarted worker loses what it still has in hand',
    file: liveness,
    find: 'attempt.incarnation !== beat.incarnation && !inHand.has(key)',
    replace: 'attempt.incarnation !== beat.incarnation',
    tests: ofLiveness,
  },
  {
    what: 'the jobs of a restarted worker wait for its silence',
    file: liveness,
    find: ' || orphaned.has(key)',
    replace: '',
    tests: ofLiveness,
  },
  {
    what: 'a worker that holds what it should not is left alone',
    file: watch,
    find: 'return fresh !== undefined && !wantsAttempt(fresh, held)',
    replace: 'return false',
    tests: ofServices,
  },
  {
    what: 'an attempt is declared lost to nobody',
    file: watch,
    find: "        await publishAbout('job.attempt-lost', lost)\n",
    replace: '',
    tests: ofServices,
  },
  {
    what: 'a stale worker gets fresh URLs',
    file: claim,
    find: '      job.epoch === epoch &&\n',
    replace: '',
    tests: ofServices,
  },
  {
    what: 'another start of a worker gets the URLs of the one before',
    file: claim,
    find: ' &&\n      job.worker.incarnation === incarnation',
    replace: '',
    tests: ofServices,
  },
  {
    what: 'the end is told a second time with the deletion',
    file: publishOutputs,
    find: 'const outcome = await publishEvent(bus, event, { traceparent, lastSequence: 0 })',
    replace: 'const outcome = await publishEvent(bus, event, { traceparent })',
    tests: ofServices,
  },
  {
    what: 'nothing is ever deleted by its timer',
    file: outputs,
    find: '  if (job.deletedAtMs === undefined)\n',
    replace: '  if (job.deletedAtMs !== undefined)\n',
    tests: ofServices,
  },
  {
    what: 'a job is posted again at its deletion',
    file: publishOutputs,
    find: '          traceparent,\n          lastSequence: 0,\n',
    replace: '          traceparent,\n',
    tests: ['orchestrator/test/orchestrator.test.ts'],
  },
  {
    what: 'any object passes for the video',
    file: storage,
    find: "  if (rendered.key !== outputKey(job.jobId, job.epoch)) return 'another key'\n",
    replace: '',
    tests: ofServices,
  },
  {
    what: 'a truncated upload is delivered',
    file: storage,
    find: "  if (stored.bytes !== rendered.bytes) return 'another size'\n",
    replace: '',
    tests: ofServices,
  },
  {
    what: 'a damaged upload is delivered',
    file: storage,
    find: "  if (stored.sha256 !== undefined && stored.sha256 !== rendered.sha256) return 'another checksum'\n",
    replace: '',
    tests: ofServices,
  },
  {
    what: 'a job is completed without its video',
    file: storage,
    find: "  if (!stored) return 'no such object'\n",
    replace: '  if (!stored) return undefined\n',
    tests: ofServices,
  },
  {
    what: 'a worker that asks again during the claim gets two jobs',
    file: 'orchestrator/src/dispatch/dispatcher.ts',
    find: 'held.give(ask, claimed.job)',
    replace: 'held.settle(ask, { job: claimed.job })',
    tests: ofSimulation,
  },
  {
    what: 'what the broker forgot to deliver is never published again',
    file: 'orchestrator/src/repairs/reconcile.ts',
    find: 'if (!isLasting) return false',
    replace: 'if (isLasting || !isLasting) return false',
    tests: ['orchestrator/test/repairs.test.ts'],
  },
  {
    what: 'an event is acknowledged before its outputs are published',
    file: 'orchestrator/src/handlers/job-event.ts',
    find: 'await deps.publishOutputs(applied.value, applied.revision)',
    replace: 'void deps.publishOutputs(applied.value, applied.revision).catch(() => undefined)',
    tests: ['orchestrator/src/handlers/job-event.test.ts'],
  },
  {
    what: 'a redelivered event publishes nothing',
    file: 'orchestrator/src/handlers/job-event.ts',
    find: 'await deps.publishOutputs(applied.value, applied.revision)',
    replace: 'if (applied.changed) await deps.publishOutputs(applied.value, applied.revision)',
    tests: ofSimulation,
  },
  {
    what: 'an upload is settled and nobody is told',
    file: 'orchestrator/src/storage/render-completed.ts',
    find: 'if (!isOurs) return publishOutputs(noted.value, noted.revision)',
    replace: 'if (!isOurs) return',
    tests: ofSimulation,
  },
  {
    what: 'what no event repairs is never repaired',
    file: 'orchestrator/src/repairs/reconcile.ts',
    find: "return { ...background({ ...deps, name: 'reconciler', everyMs, pass: runOnce }), runOnce }",
    replace: 'return { start: async () => undefined, stop: async () => undefined, runOnce }',
    tests: ofSimulation,
  },
  {
    what: 'an end is told when the media are deleted, and not before',
    file: outputs,
    find: "const outputs: Output[] = [{ kind: 'event', event: terminalEvent(job, fact) }]",
    replace:
      'const outputs: Output[] =\n' +
      "    job.deletedAtMs === undefined ? [] : [{ kind: 'event', event: terminalEvent(job, fact) }]",
    tests: ofSimulation,
  },
  {
    what: 'the asks of everybody are forgotten after a suspension',
    file: 'orchestrator/src/dispatch/suspension.ts',
    find: '      isOld = false\n',
    replace: '',
    tests: ofSimulation,
  },
  {
    what: 'a job whose answer was lost is not given to who asks again',
    file: 'orchestrator/src/dispatch/dispatcher.ts',
    find: '        await answerRepeated()\n',
    replace: '',
    tests: ofSimulation,
  },
]
