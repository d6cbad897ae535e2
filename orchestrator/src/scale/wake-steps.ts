import { randomBytes } from 'node:crypto'
import {
  type Beat,
  contractsNumber,
  type HelloAnswer,
  type HelloRequest,
  isAtWork,
  isAwaited,
  type Wake,
} from '@avatar/contracts'

/** A new wake-up, as it is written down before anybody is asked for a worker. */
export function intendedWake(
  of: Pick<Wake, 'provider' | 'pool'>,
  nowMs: number,
  wakeId: string = randomBytes(12).toString('hex'),
): Wake {
  return { wakeId, provider: of.provider, pool: of.pool, state: 'intended', intendedAtMs: nowMs }
}

/**
 * The wake-up once the provider has taken the order. A worker may have said hello before the reply came:
 * then only the provider's name for it is noted.
 */
export function rungWake(wake: Wake, ref: string, nowMs: number): Wake | undefined {
  if (wake.state === 'lost' || wake.state === 'ended') return undefined
  const noted = { ...wake, ref, rungAtMs: wake.rungAtMs ?? nowMs }
  return wake.state === 'intended' ? { ...noted, state: 'rung' } : noted
}

/** The wake-up for which nobody comes any more; undefined when somebody has come meanwhile. */
export function lostWake(wake: Wake, reason: string, nowMs: number): Wake | undefined {
  return isAwaited(wake) ? { ...wake, state: 'lost', reason, endedAtMs: nowMs } : undefined
}

/** The wake-up whose worker has left. */
export function endedWake(
  wake: Wake,
  about: Pick<Wake, 'reason' | 'counts' | 'lastSeenAtMs'>,
  nowMs: number,
): Wake | undefined {
  if (wake.state === 'ended' || wake.state === 'lost') return undefined
  const { reason, counts, lastSeenAtMs } = about
  return {
    ...wake,
    ...{ state: 'ended', endedAtMs: nowMs },
    ...(reason === undefined ? {} : { reason }),
    ...(counts === undefined ? {} : { counts }),
    ...(lastSeenAtMs === undefined ? {} : { lastSeenAtMs }),
  }
}

/** Whether a worker is the one that has said hello with this wake-up. */
export function isOf(
  wake: Pick<Wake, 'workerId' | 'incarnation'>,
  worker: { workerId: string; incarnation?: string | undefined },
): boolean {
  return (
    wake.workerId === worker.workerId &&
    (worker.incarnation === undefined || wake.incarnation === worker.incarnation)
  )
}

/** What a heartbeat changes about the wake-up of its worker; undefined when nothing. */
export function wakeAfterBeat(wake: Wake, beat: Beat, nowMs: number): Wake | undefined {
  if (!isAtWork(wake) || !isOf(wake, beat)) return undefined
  if (beat.state === 'gone')
    return endedWake(wake, { reason: 'its worker has left', counts: beat.counts }, nowMs)
  const isLoaded = beat.state === 'ready' || beat.state === 'rendering'
  return wake.state === 'started' && isLoaded
    ? { ...wake, state: 'ready', readyAtMs: nowMs }
    : undefined
}

/** What a worker is told at hello, and what becomes of its wake-up; `change` is absent when nothing does. */
export type HelloDecision = { answer: HelloAnswer; change?: Wake }

/** What hello depends on. */
export type HelloInput = {
  request: HelloRequest
  /** All of the scaled pool, as of now. */
  wakes: readonly Wake[]
  /** Wakes whose worker finishes its last job. */
  leaving: ReadonlySet<string>
  /** Of the last decision. */
  wanted: number
  limits: { min: number; max: number; idleSeconds: number; lifetimeSeconds: number }
  /** Whether a worker may come without a wake-up, which it is then given. */
  givesWakes: boolean
  provider: Wake['provider']
  nowMs: number
}

/**
 * Whether a worker may load its engine. This is where doubled, late and stale doorbells end, for the price of
 * a container's start. It may be asked again by the same worker, with the same answer.
 */
export function decideHello(input: HelloInput): HelloDecision {
  const { request, wakes, nowMs } = input
  const { workerId, incarnation, release } = request
  const leave = (reason: string, change?: Wake): HelloDecision => ({
    answer: { answer: 'leave', reason },
    ...(change ? { change } : {}),
  })
  if (request.contracts < contractsNumber - 1)
    return leave(`this worker is too old: it speaks contracts ${request.contracts}`)

  const own = wakes.find((wake) => isAtWork(wake) && isOf(wake, request))
  if (own && (request.wakeId === undefined || own.wakeId === request.wakeId))
    return { answer: workAnswer(input, own) }
  const named = wakes.find(({ wakeId }) => wakeId === request.wakeId)
  if (request.wakeId === undefined && !input.givesWakes)
    return leave('this pool’s workers come with a wake-up')
  if (request.wakeId !== undefined && !named) return leave('this wake-up is not known')
  if (named && !isAwaited(named)) return leave(`this wake-up is ${named.state} already`)

  if (!hasRoom(input))
    return leave(
      'as many workers as are wanted are there',
      named && endedWake(named, { reason: 'sent away: as many as were wanted were there' }, nowMs),
    )
  const wake = named ?? intendedWake({ provider: input.provider, pool: request.pool }, nowMs)
  const started: Wake = {
    ...wake,
    ...{ state: 'started', startedAtMs: nowMs, workerId, incarnation },
    ...(release === undefined ? {} : { release }),
  }
  return { answer: workAnswer(input, started), change: started }
}

/** Those that leave keep their place below the maximum until they are gone. */
function hasRoom({ wakes, leaving, wanted, limits }: HelloInput): boolean {
  const atWork = wakes.filter(isAtWork)
  const staying = atWork.filter(({ wakeId }) => !leaving.has(wakeId))
  return staying.length < wanted && atWork.length < limits.max
}

/** As many as there shall always be are told to stay, however long they have nothing to do. */
function workAnswer({ wakes, limits }: HelloInput, wake: Wake): HelloAnswer {
  const before = wakes.filter(
    (other) =>
      isAtWork(other) &&
      other.wakeId !== wake.wakeId &&
      (other.startedAtMs ?? 0) <= (wake.startedAtMs ?? 0),
  )
  const stays = before.length < limits.min
  return {
    answer: 'work',
    idleSeconds: stays ? 0 : limits.idleSeconds,
    lifetimeSeconds: limits.lifetimeSeconds,
    wakeId: wake.wakeId,
  }
}

/**
 * The wakes whose worker nobody has heard for so long. Silence counts from the hello, from the last heartbeat,
 * and from when we began to listen, whatever came last: who was not listening has heard nothing.
 */
export function silentWakes(
  wakes: readonly Wake[],
  heard: {
    /** How long ago the worker of a wake was last heard; undefined when never. */
    ageMsOf(wake: Wake): number | undefined
    listeningForMs: number
    silentAfterMs: number
    /** How long a worker may ask for the answer to its hello, before its first heartbeat. */
    helloGiveUpMs: number
  },
  nowMs: number,
): Wake[] {
  return wakes.filter((wake) => {
    if (!isAtWork(wake)) return false
    const sinceHelloMs = nowMs - (wake.startedAtMs ?? wake.intendedAtMs)
    // The first answer may have been lost: the worker asks on, and begins to be heard that much later.
    const silentMs = heard.ageMsOf(wake) ?? sinceHelloMs - heard.helloGiveUpMs
    return Math.min(silentMs, heard.listeningForMs) > heard.silentAfterMs
  })
}
