import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '@avatar/service-kit'

type Due = { atMs: number; order: number; run: () => void }

/** Any moment will do; this one is in the middle of a day and of a month. */
const startMs = Date.UTC(2026, 10, 15, 12)

/**
 * The time of a simulated world. Nothing happens but what was put down here for a moment, one after the
 * other, so the same world always lives the same life.
 */
export class SimulatedTime {
  nowMs = startMs
  readonly #heap: Due[] = []
  #order = 0

  at(atMs: number, run: () => void): void {
    const due = { atMs: Math.max(atMs, this.nowMs), order: ++this.#order, run }
    const heap = this.#heap
    let place = heap.push(due) - 1
    for (let above = (place - 1) >> 1; place > 0; above = (place - 1) >> 1) {
      const other = heap[above]
      if (!other || isBefore(other, due)) break
      heap[place] = other
      place = above
    }
    heap[place] = due
  }

  /** Does what is due next, and lets everything that waits for it go on. @returns false when nothing is */
  async step(): Promise<boolean> {
    const due = this.#pop()
    if (!due) return false
    this.nowMs = due.atMs
    due.run()
    // Promises settle in the order in which they were resolved; after this none is under way.
    await nextTurn()
    return true
  }

  #pop(): Due | undefined {
    const heap = this.#heap
    const [first] = heap
    const last = heap.pop()
    if (!first || !last || first === last) return first
    let place = 0
    for (;;) {
      const left = 2 * place + 1
      const [a, b] = [heap[left], heap[left + 1]]
      const less = b && a && isBefore(b, a) ? left + 1 : left
      const child = heap[less]
      if (!child || isBefore(last, child)) break
      heap[place] = child
      place = less
    }
    heap[place] = last
    return first
  }
}

function isBefore(a: Due, b: Due): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}

/**
 * One start of a process. Whatever waits for it is dropped when it is killed, and late when it is
 * suspended: its code then stands still for good, or for a while, at whatever it awaits.
 */
export class SimulatedProcess {
  isAlive = true
  pausedUntilMs = 0
  /** Cut off from the broker and the store. */
  cutUntilMs = 0
  /** How far its machine's wall clock is ahead. */
  wallAheadMs = 0
  /** Bytes of a connection arrive in the order in which they were sent, in each direction. */
  readonly lastArrivalMs = { out: 0, in: 0 }
  readonly time: SimulatedTime
  readonly name: string
  readonly clock: Clock
  readonly #bootMs: number

  constructor(time: SimulatedTime, name: string) {
    this.time = time
    this.name = name
    this.#bootMs = time.nowMs - 1_000
    this.clock = {
      nowMs: () => time.nowMs + this.wallAheadMs,
      monotonicMs: () => time.nowMs - this.#bootMs,
      wait: (ms, signal) =>
        new Promise((resolve) => {
          if (signal?.aborted) return resolve()
          const done = () => {
            signal?.removeEventListener('abort', done)
            resolve()
          }
          signal?.addEventListener('abort', done)
          this.after(ms, done)
        }),
    }
  }

  after(ms: number, run: () => void): void {
    this.at(this.time.nowMs + ms, run)
  }

  at(atMs: number, run: () => void): void {
    this.time.at(atMs, () => {
      if (!this.isAlive) return
      if (this.pausedUntilMs > this.time.nowMs) return this.at(this.pausedUntilMs, run)
      run()
    })
  }

  /** A second fault makes the first one no shorter: what met that one has been put off until its end. */
  pauseUntil(atMs: number): void {
    this.pausedUntilMs = Math.max(this.pausedUntilMs, atMs)
  }

  cutUntil(atMs: number): void {
    this.cutUntilMs = Math.max(this.cutUntilMs, atMs)
  }

  get isPaused(): boolean {
    return this.pausedUntilMs > this.time.nowMs
  }

  get isCut(): boolean {
    return this.cutUntilMs > this.time.nowMs
  }
}
