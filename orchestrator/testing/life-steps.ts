import { at, type Life } from './life.ts'

const minute = 60_000

/** First what goes well, often enough for jobs to get far; then everything that may go wrong. */
export const ways = [
  ...repeated('handle', 8),
  ...repeated('ask and claim', 3),
  ...repeated('work on', 12),
  'handle, and crash after the write',
  'handle, and crash among the outputs',
  'handle, and lose the acknowledgement',
  'ask and claim, and lose the answer',
  'die',
  'fail',
  'release',
  'declare a living attempt lost',
  'lose what was stored',
  'receive a stop',
  'lose a stop',
  'send a heartbeat',
  'watch',
  'reconcile',
  'cancel',
  'submit again',
  'delete',
  'let time pass',
  'set the clock',
] as const
export type Step = { way: (typeof ways)[number]; which: number; among: number }

/** Takes one step in a life, if there is anything that it can happen to. */
export function take(life: Life, { way, which, among }: Step): void {
  life.nowMs += 1_000
  const worker = at(life.workers, which)
  const held = worker && at(worker.held, among)
  const event = at(life.pending, which)
  const job = at([...life.jobs.values()], which)
  switch (way) {
    case 'handle':
      if (event && life.handle(event, { isStoreAway: among % 2 === 1 }))
        life.pending = life.pending.filter((p) => p !== event)
      break
    case 'handle, and crash after the write':
      if (event) life.handle(event, { outputs: 0 })
      break
    case 'handle, and crash among the outputs':
      if (event) life.handle(event, { outputs: among % 4 })
      break
    case 'handle, and lose the acknowledgement':
      if (event) life.handle(event)
      break
    case 'ask and claim':
    case 'ask and claim, and lose the answer':
      if (worker) life.claim(worker, among, way !== 'ask and claim')
      break
    case 'work on':
      if (worker && held && among % life.hardship === 0) life.workOn(worker, held)
      break
    case 'die':
      if (worker) life.die(worker)
      break
    case 'fail':
      if (worker && held && held.stage !== 'reported') life.fail(worker, held)
      break
    case 'release':
      if (worker && held && held.stage !== 'reported') life.giveBack(worker, held, 'released')
      break
    case 'declare a living attempt lost':
      if (held && life.isOpen(held)) life.lose(held)
      break
    case 'lose what was stored':
      if (job) life.loseStored(job)
      break
    case 'receive a stop':
      life.receiveStop(which)
      break
    case 'lose a stop':
      life.stops.splice(which % Math.max(1, life.stops.length), 1)
      break
    case 'send a heartbeat':
      if (worker) life.sendHeartbeat(worker)
      break
    case 'watch':
      life.watch()
      break
    case 'reconcile':
      life.reconcile()
      break
    case 'cancel':
      // Rarely, because most lives shall end in a video.
      if (job && among === 0) life.cancel(job)
      break
    case 'submit again':
      if (job) life.store({ kind: 'submitted' }, job.jobId)
      break
    case 'delete':
      if (job && life.timers.has(job.jobId)) life.store({ kind: 'deleted' }, job.jobId)
      break
    case 'let time pass':
      life.nowMs += among * 1_000
      break
    case 'set the clock':
      life.nowMs += (which - 15) * minute
  }
}

function repeated<T>(value: T, times: number): T[] {
  return Array.from({ length: times }, () => value)
}
