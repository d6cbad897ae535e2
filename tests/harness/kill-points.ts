import type { ServiceName } from '@avatar/contracts'
import type { Cut } from './nats-proxy.ts'
import type { System } from './system.ts'
import { within } from './within.ts'

/** A write of the job's record in this state. */
const record = (state: string, field = ''): Pick<Cut, 'subject' | 'payload'> => ({
  subject: /^\$KV\.job\./,
  payload: new RegExp(`"state":"${state}".*${field}`),
})
const event = (type: string) => ({ subject: new RegExp(`^evt\\.${type}\\.`) })
const acknowledged = (consumer: string) => ({
  subject: new RegExp(`^\\$JS\\.ACK\\.${consumer}\\.`),
  payload: /^\+ACK/,
})

/** Between each two steps of the REST door whose effects are visible from outside. */
export const ingestPoints = {
  'inputs stored, no record': { when: 'before', ...record('pending') },
  'record written, no event': { when: 'after', ...record('pending') },
  'event published, not answered': { when: 'after', ...event('job.submitted') },
} as const satisfies Record<string, Cut>

/** The same of the orchestrator. */
export const orchestratorPoints: Readonly<Record<string, Cut>> = {
  'before it is queued': { when: 'before', ...record('queued') },
  'queued, no event': { when: 'after', ...record('queued') },
  'queued, not acknowledged': { when: 'before', ...acknowledged('EVENTS.orchestrator') },
  'before the claim is written': { when: 'before', ...record('claimed') },
  'claimed, not answered': { when: 'after', ...record('claimed') },
  'before it renders': { when: 'before', ...record('rendering') },
  'rendering, no event': { when: 'after', ...record('rendering') },
  'started, not acknowledged': { when: 'after', ...event('job.started') },
  'storing, not answered': { when: 'after', ...record('storing') },
  'before the upload is noted': { when: 'before', ...record('storing', '"uploaded":') },
  'uploaded, not verified': { when: 'after', ...record('storing', '"uploaded":') },
  'before it is completed': { when: 'before', ...record('completed') },
  'completed, no timer': { when: 'after', ...record('completed') },
  'timer set, no event': { when: 'after', subject: /^sched\.delete\./ },
  'event published, no posting': { when: 'after', ...event('job.completed') },
  'posted, not stopped': { when: 'after', subject: /^ledger\.job\./ },
  'completed, not acknowledged': { when: 'before', ...acknowledged('EVENTS.storage') },
}

/** The same of the worker, and the attempt that completes the job. */
export const workerPoints: Readonly<Record<string, { cut: Cut; attempt: number }>> = {
  'claimed, not started': { attempt: 2, cut: { when: 'before', ...event('render.started') } },
  'with a spooled file': {
    attempt: 1,
    cut: { when: 'before', subject: /^ctl\.request\.store\./ },
  },
  'after the upload': { attempt: 1, cut: { when: 'before', ...event('render.completed') } },
  'after the event': { attempt: 1, cut: { when: 'after', ...event('render.completed') } },
}

/** The same of the janitor, once a job's time is over. */
export const janitorPoints: Readonly<Record<string, Cut>> = {
  'media deleted, no event': { when: 'before', ...event('job.deleted') },
  'event published, not acknowledged': { when: 'before', ...acknowledged('SCHED.janitor') },
}

/** The same of the orchestrator, when it is told of the deletion. */
export const deletionPoints: Readonly<Record<string, Cut>> = {
  'deleted, not recorded': {
    when: 'before',
    subject: /^\$KV\.job\./,
    payload: /"deletedAtMs":/,
  },
  'deletion recorded, not acknowledged': {
    when: 'after',
    subject: /^\$KV\.job\./,
    payload: /"deletedAtMs":/,
  },
}

const reachedWithinMs = 60_000

/** Kills a service at the step that the cut describes; `act` makes the service reach it. */
export async function killAt<T>(
  system: System,
  service: ServiceName,
  cut: Cut,
  act: () => Promise<T>,
): Promise<T> {
  const reached = system.proxies.toBroker(service).cut(cut)
  const acting = act()
  acting.catch(() => undefined) // Awaited only once the service is dead.
  await within(reached, reachedWithinMs, `${cut.when} ${cut.subject} of ${service}`)
  await system.kill(service)
  return acting
}
