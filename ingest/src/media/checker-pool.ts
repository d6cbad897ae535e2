import { rm } from 'node:fs/promises'
import { AppError, type Log, logFailure } from '@avatar/service-kit'
import type { z } from 'zod'
import type { CheckBounds } from './check-bounds.ts'
import {
  CheckerDied,
  type CheckerProcess,
  compileCacheOf,
  startCheckerProcess,
} from './checker-process.ts'
import type { Answer, CheckerRequest } from './checker-protocol.ts'

/** A medium took a process past its limits or crashed it. */
export class MediumTooCostly extends Error {
  override readonly name = 'MediumTooCostly'
}

/** One place of the pool, lent to one check. */
export type Checker = {
  /** Aborted when the pool is stopped. */
  readonly signal: AbortSignal
  /**
   * Asks the warm process of this place.
   *
   * @throws AppError with the code of the refusal, or MediumTooCostly
   */
  ask<Schema extends z.ZodType>(
    request: CheckerRequest,
    schema: Schema,
    wallMs: number,
  ): Promise<z.output<Schema>>
}

type Place = { process?: Promise<CheckerProcess> | undefined; isWarm: boolean }

/** The errors of a full disk. EDQUOT is that of an exhausted quota. */
const fullDiskErrnos: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT'])

/**
 * Keeps as many warm checkers as checks may run at once. A checker that is worn out, whose decoder has
 * met an unreadable image or that died is replaced in the background, so that the next check finds a warm one.
 */
export function createCheckerPool(options: {
  concurrency: number
  tempDir: string
  bounds: CheckBounds
  log: Log
}) {
  const { concurrency, tempDir, bounds, log } = options
  const places = Array.from({ length: concurrency }, (): Place => ({ isWarm: false }))
  const free: Place[] = [...places]
  let waiting: PromiseWithResolvers<Place>[] = []
  let stopping = new AbortController()
  const running = new Set<Promise<unknown>>()

  /** The process of a place, started if there is none. */
  function warm(place: Place): Promise<CheckerProcess> {
    if (stopping.signal.aborted) return Promise.reject(new AppError('DRAINING'))
    place.process ??= startCheckerProcess({ tempDir, bounds }).then(
      (process) => {
        place.isWarm = true
        return process
      },
      (cause: NodeJS.ErrnoException) => {
        place.process = undefined
        throw ourFailure(cause.code, cause)
      },
    )
    return place.process
  }

  async function retire(place: Place): Promise<void> {
    const old = place.process
    place.process = undefined
    place.isWarm = false
    await (await old?.catch(() => undefined))?.stop()
  }

  /** Replaces the process of a place. If the new one cannot start, the next check there tries again. */
  function replaceSoon(place: Place): void {
    void track(retire(place))
    if (stopping.signal.aborted) return
    warm(place).catch((error) => logFailure(log, error, 'checker did not start'))
  }

  function track<T>(work: Promise<T>): Promise<T> {
    const settled: Promise<unknown> = work
      .catch(() => undefined)
      .finally(() => running.delete(settled))
    running.add(settled)
    return work
  }

  async function askOnce(place: Place, request: CheckerRequest, wallMs: number): Promise<Answer> {
    let process = await warm(place)
    // It died while it was idle.
    if (process.isWorn) {
      replaceSoon(place)
      process = await warm(place)
    }
    try {
      const answer = await process.ask(request, wallMs)
      const metBadMedium = answer.kind === 'refused' && answer.isOfDecoder
      if (process.isWorn || metBadMedium) replaceSoon(place)
      return answer
    } catch (error) {
      if (stopping.signal.aborted) throw new AppError('DRAINING', { cause: error })
      replaceSoon(place)
      throw error
    }
  }

  /**
   * Asks another process after a kill from outside, for instance by the kernel for lack of memory. That
   * is no failure yet, so it has no code that would decide a level.
   */
  async function askAgain(place: Place, request: CheckerRequest, wallMs: number): Promise<Answer> {
    try {
      return await askOnce(place, request, wallMs)
    } catch (error) {
      if (!(error instanceof CheckerDied && error.byOthers)) throw error
      log.warn({ err: error }, 'checker was killed, asking another')
      return await askOnce(place, request, wallMs)
    }
  }

  function lend(place: Place): Checker {
    return {
      signal: stopping.signal,
      async ask(request, schema, wallMs) {
        try {
          return schema.parse(answeredValue(await askAgain(place, request, wallMs)))
        } catch (error) {
          if (!(error instanceof CheckerDied && error.byMedium)) throw error
          throw new MediumTooCostly(error.message, { cause: error })
        }
      },
    }
  }

  async function takePlace(): Promise<Place> {
    if (stopping.signal.aborted) throw new AppError('DRAINING')
    const warmOne = free.findIndex(({ isWarm }) => isWarm)
    const [place] = free.splice(Math.max(warmOne, 0), 1)
    if (place) return place
    const turn = Promise.withResolvers<Place>()
    waiting.push(turn)
    return turn.promise
  }

  return {
    async start() {
      if (stopping.signal.aborted) stopping = new AbortController()
      await Promise.all(places.map(warm))
    },

    async stop() {
      stopping.abort()
      for (const turn of waiting) turn.reject(new AppError('DRAINING'))
      waiting = []
      await Promise.all(places.map(retire))
      await Promise.all(running)
      await rm(compileCacheOf(tempDir), { recursive: true, force: true })
    },

    /** Waits for a free place, in order of arrival, and lends it for the length of `work`. */
    async use<T>(work: (checker: Checker) => Promise<T>): Promise<T> {
      const place = await takePlace()
      try {
        return await track(work(lend(place)))
      } finally {
        const next = waiting.shift()
        if (next) next.resolve(place)
        else free.push(place)
      }
    },
  }
}

function answeredValue(answer: Answer): unknown {
  switch (answer.kind) {
    case 'done':
      return answer.value
    case 'refused':
      throw new AppError(answer.code, {
        cause: new Error(answer.reason),
        details: answer.details,
        ...(answer.explanation === undefined ? {} : { message: answer.explanation }),
      })
    case 'failed':
      // The file size limit. Node ignores its signal and gets the error.
      if (answer.errno === 'EFBIG') throw new MediumTooCostly(answer.reason)
      throw ourFailure(answer.errno, new Error(answer.reason))
  }
}

function ourFailure(errno: unknown, cause: unknown): AppError {
  return new AppError(fullDiskErrnos.has(errno) ? 'STORAGE_FULL' : 'UNEXPECTED', { cause })
}
