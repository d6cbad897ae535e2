import {
  type Beat,
  type EventOf,
  type EventType,
  type FailureCode,
  type HeldJob,
  helloAnswerSchema,
  nextAnswerSchema,
  type RenderOrder,
  stopOrderSchema,
  storeAnswerSchema,
  subjects,
  type Timings,
} from '@avatar/contracts'
import { publishEvent } from '@avatar/job-kit'
import type { Bus } from '@avatar/service-kit'
import type { SimulatedStore } from './simulated-store.ts'
import type { SimulatedProcess } from './simulated-time.ts'

/** How the render of a job goes, whoever renders it. */
export type Rendering = {
  seconds: number
  /** Undefined when it succeeds; `death` kills the worker. */
  end: FailureCode | 'death' | undefined
}

/** One attempt that a worker has in hand. */
export type Attempt = {
  order: RenderOrder
  stage: HeldJob['stage']
  renderedForSeconds: number
  isStopped: boolean
  isReported: boolean
  endedAtMs: number | undefined
  sha256: string
}

/** What survives the death of a worker: its spool. */
export type Disk = Map<string, Attempt>

export type WorkerWorld = {
  bus: Bus
  store: SimulatedStore
  process: SimulatedProcess
  timings: Timings
  disk: Disk
  workerId: string
  incarnation: string
  pool: string
  /** Whether it is started by the scaler, and so has to say hello. */
  isScaled: boolean
  between: (least: number, most: number) => number
  /** What becomes of a render that begins now. */
  renderingOf: (jobId: string) => Rendering
  onRender: (jobId: string, epoch: number) => void
  /** The inputs of a job are not there. */
  onInputsGone: (jobId: string) => void
  /** Its process ends. */
  die: () => void
  /** It leaves in order. */
  leave: () => void
}

/**
 * A worker by the protocol: it asks, renders one job at a time, spools, uploads, reports, and tells all the
 * while what it has in hand. The real one is written in Python, and has tests of its own against these
 * messages.
 */
export class SimulatedWorker {
  readonly held = new Map<string, Attempt>()
  readonly #world: WorkerWorld
  #isLoaded = false
  #isDraining = false
  /** The name of its ask, kept until that has brought a job. */
  #ask: string | undefined
  #rendering: { jobId: string; isKilled: boolean; leftSeconds: number } | undefined
  #idleSinceMs = 0
  #idleSeconds = 0
  #loadedMs = 0

  constructor(world: WorkerWorld) {
    this.#world = world
  }

  get isIdle(): boolean {
    return this.#isLoaded && !this.#isDraining && !this.#rendering && this.#inRender().length === 0
  }

  /** The name under which it asks for its first job. */
  get idleAsk(): string | undefined {
    return this.isIdle ? this.#ask : undefined
  }

  get rendering(): string | undefined {
    return this.#rendering?.jobId
  }

  start(): void {
    const { bus, workerId, disk } = this.#world
    bus.subscribe(subjects.stop(workerId), (message) => {
      const order = stopOrderSchema.parse(message.json())
      this.#stop(order.jobId, order.epoch)
    })
    for (const attempt of disk.values()) {
      this.held.set(attempt.order.jobId, attempt)
      void this.#upload(attempt)
    }
    void this.#beat()
    void this.#live()
  }

  /** Its render process dies. */
  killRender(): string | undefined {
    if (this.#rendering) this.#rendering.isKilled = true
    return this.#rendering?.jobId
  }

  /** SIGTERM: what it holds is handed back, what is spooled has half a minute. */
  async drain(): Promise<void> {
    if (this.#isDraining) return
    const { process, timings, leave } = this.#world
    this.#isDraining = true
    const deadlineMs = process.clock.monotonicMs() + timings.drainGraceMs
    for (const attempt of this.#inRender()) {
      attempt.isStopped = true
      await this.#end(attempt, 'render.released')
    }
    while (this.#spooled().length > 0 && process.clock.monotonicMs() < deadlineMs)
      await process.clock.wait(500)
    for (const attempt of this.#spooled()) await this.#end(attempt, 'render.released')
    leave()
  }

  #inRender = () =>
    [...this.held.values()].filter(({ stage }) => /^(fetching|ready|rendering)$/.test(stage))
  #spooled = () =>
    [...this.held.values()].filter(
      ({ stage, isReported }) => /^(spooled|uploading|uploaded)$/.test(stage) && !isReported,
    )

  async #live() {
    const { process, between } = this.#world
    if (this.#world.isScaled && !(await this.#hello())) return this.#world.leave()
    const began = process.clock.monotonicMs()
    await process.clock.wait(between(2_000, 15_000))
    this.#loadedMs = process.clock.monotonicMs() - began
    this.#isLoaded = true
    this.#idleSinceMs = process.clock.monotonicMs()
    await this.#askOn()
  }

  async #hello(): Promise<boolean> {
    const { bus, process, timings, workerId, incarnation, pool } = this.#world
    const untilMs = process.clock.monotonicMs() + timings.helloGiveUpMs
    while (process.clock.monotonicMs() < untilMs) {
      const request = { workerId, incarnation, pool, contracts: 1 }
      const told = await bus.request(subjects.hello(pool), request, { timeoutMs: 3_000 })
      const { data: answer } = helloAnswerSchema.safeParse(told)
      if (answer?.answer === 'work') this.#idleSeconds = answer.idleSeconds
      if (answer) return answer.answer === 'work'
      await process.clock.wait(timings.helloAgainMs)
    }
    return false
  }

  /** One ask at a time, under a name that it keeps until it has brought a job. */
  async #askOn() {
    const { bus, process, timings, workerId, incarnation, pool, between } = this.#world
    while (!this.#isDraining) {
      const inRender = this.#inRender()
      const isNextInHand = inRender.some(({ stage }) => stage !== 'rendering')
      const leftMs = 1000 * (this.#rendering?.leftSeconds ?? 0)
      if (isNextInHand || leftMs > timings.prefetchBeforeEndMs || this.held.size >= 16) {
        await process.clock.wait(timings.askAgainMs)
        continue
      }
      const isIdle = inRender.length === 0
      if (isIdle && this.#isSuperfluous()) return this.drain()
      this.#ask ??= `${workerId}-${incarnation}-${between(0, 1e9)}`
      const waitMs = isIdle ? timings.askParkMs : 0
      const asked = { ask: this.#ask, pool, secondsPerVideoSecond: 1, isIdle, waitMs }
      const request = { workerId, incarnation, ...asked }
      const timeoutMs = waitMs + timings.askExtraMs
      const told = await bus.request(subjects.next(pool), request, { timeoutMs })
      const { data: order } = nextAnswerSchema.safeParse(told)
      if (order?.answer === 'render') {
        this.#ask = undefined
        this.#take(order)
      } else if (!order || !isIdle) await process.clock.wait(timings.askAgainMs)
    }
  }

  #isSuperfluous(): boolean {
    const { process } = this.#world
    const idleMs = process.clock.monotonicMs() - this.#idleSinceMs
    return this.#idleSeconds > 0 && this.held.size === 0 && idleMs > 1000 * this.#idleSeconds
  }

  #take(order: RenderOrder) {
    const { jobId, epoch } = order
    const known = this.held.get(jobId)
    if (known && known.order.epoch >= epoch) return
    if (known) known.isStopped = true
    const attempt: Attempt = {
      ...{ order, stage: 'fetching', renderedForSeconds: 0, isStopped: false, isReported: false },
      ...{ endedAtMs: undefined, sha256: '' },
    }
    this.held.set(jobId, attempt)
    if (this.#isDraining) void this.#end(attempt, 'render.released')
    else void this.#render(attempt)
  }

  #stop(jobId: string, epoch: number) {
    const attempt = this.held.get(jobId)
    if (attempt?.order.epoch !== epoch) return
    attempt.isStopped = true
    if (attempt.stage === 'ended') this.#forget(attempt)
  }

  async #render(attempt: Attempt) {
    const { process, store, between } = this.#world
    const { clock } = process
    const { jobId, epoch } = attempt.order
    await clock.wait(between(100, 1_000))
    while (store.isAway || process.isCut) await clock.wait(2_000)
    if (!attempt.isStopped && !this.#hasInputs(attempt)) {
      this.#world.onInputsGone(jobId)
      return this.#end(attempt, 'render.failed', 'INPUT_GONE')
    }
    attempt.stage = 'ready'
    while (this.#rendering && !attempt.isStopped) await clock.wait(250)
    if (attempt.isStopped) return this.#endEarly(attempt)
    const { seconds, end } = this.#world.renderingOf(jobId)
    const rendering = { jobId, isKilled: false, leftSeconds: seconds }
    this.#rendering = rendering
    attempt.stage = 'rendering'
    this.#world.onRender(jobId, epoch)
    void this.#report('render.started', attempt)
    while (rendering.leftSeconds > 0 && !rendering.isKilled && !attempt.isStopped) {
      await clock.wait(1_000)
      attempt.renderedForSeconds += 1
      rendering.leftSeconds -= 1
      if (end === 'death' && rendering.leftSeconds < seconds / 2) return this.#world.die()
    }
    this.#rendering = undefined
    this.#idleSinceMs = clock.monotonicMs()
    if (attempt.isStopped) return this.#endEarly(attempt)
    if (rendering.isKilled) return this.#end(attempt, 'render.failed', 'RENDER_PROCESS_DIED')
    if (end !== undefined && end !== 'death') return this.#end(attempt, 'render.failed', end)
    attempt.sha256 = between(0, 1e9).toString(16).padStart(64, '0')
    attempt.stage = 'spooled'
    this.#world.disk.set(jobId, attempt)
    await this.#upload(attempt)
  }

  #hasInputs({ order }: Attempt): boolean {
    return ['image', 'audio'].every((name) =>
      [...this.#world.store.objects.keys()].includes(`jobs/${order.jobId}/input/${name}`),
    )
  }

  /** Stopped by an order, or by its own end: that one has told it already. */
  async #endEarly(attempt: Attempt) {
    if (this.held.get(attempt.order.jobId) !== attempt || this.#isDraining) return
    await this.#end(attempt, 'render.cancelled')
  }

  async #upload(attempt: Attempt) {
    const { bus, process, store, timings, between, workerId, pool } = this.#world
    const { clock } = process
    const { jobId, owner, epoch } = attempt.order
    let reportedAtMs = 0
    while (this.#isInHand(attempt)) {
      const file = { bytes: 1_000, sha256: attempt.sha256 }
      const answer = attempt.isStopped
        ? { answer: 'stop' as const }
        : storeAnswerSchema.safeParse(
            await bus.request(
              subjects.store(pool),
              { jobId, owner, epoch, workerId, ...file },
              { timeoutMs: timings.requestTimeoutMs },
            ),
          ).data
      if (!this.#isInHand(attempt)) return
      if (answer?.answer === 'grant' && !attempt.isReported) {
        attempt.stage = 'uploading'
        await clock.wait(between(200, 5_000))
        if (attempt.isStopped) continue
        if (store.isAway || process.isCut) {
          attempt.stage = 'spooled'
          await clock.wait(timings.uploadPauseMs)
          continue
        }
        if (!store.put(answer.key, file)) return this.#end(attempt, 'render.released')
        attempt.stage = 'uploaded'
        await this.#report('render.completed', attempt)
        attempt.isReported = true
        reportedAtMs = clock.monotonicMs()
      } else if (!answer || answer.answer === 'grant') {
        await clock.wait(timings.storeAgainMs)
        if (!attempt.isReported || clock.monotonicMs() - reportedAtMs < timings.reportAgainMs)
          continue
        await this.#report('render.completed', attempt)
        reportedAtMs = clock.monotonicMs()
      } else {
        if (answer.answer === 'stop' && !attempt.isReported)
          await this.#end(attempt, 'render.cancelled')
        return this.#forget(attempt)
      }
    }
  }

  #isInHand(attempt: Attempt): boolean {
    return this.held.get(attempt.order.jobId) === attempt && attempt.stage !== 'ended'
  }

  /** Tells the end, and names the attempt until somebody has said that it is handled. */
  async #end(attempt: Attempt, type: EventType, code?: FailureCode) {
    await this.#report(type, attempt, code)
    this.#world.disk.delete(attempt.order.jobId)
    attempt.stage = 'ended'
    attempt.endedAtMs = this.#world.process.clock.monotonicMs()
  }

  #forget(attempt: Attempt) {
    const { jobId } = attempt.order
    if (this.held.get(jobId) !== attempt) return
    this.held.delete(jobId)
    if (this.#world.disk.get(jobId) === attempt) this.#world.disk.delete(jobId)
  }

  async #report(type: EventType, attempt: Attempt, code?: FailureCode) {
    const { bus, process, workerId } = this.#world
    const { jobId, owner, epoch, frames, traceparent } = attempt.order
    const atMs = process.clock.nowMs()
    const event = {
      ...{ type, jobId, owner, epoch, revision: 0, atMs, workerId },
      used: { gpuSeconds: attempt.renderedForSeconds },
      ...(code ? { code, message: 'as planned' } : {}),
      ...(type === 'render.completed'
        ? {
            rendered: renderedOf(jobId, epoch, frames, attempt.sha256),
            ...{ renderStartedAtMs: atMs, renderEndedAtMs: atMs },
          }
        : {}),
    } as EventOf<'render.completed'> // Of the type that it names; each has these fields among others.
    await publishEvent(bus, event, { traceparent })
  }

  async #beat() {
    const { bus, process, timings, workerId } = this.#world
    for (;;) {
      bus.publishCore(subjects.beat(workerId), this.#tellBeat())
      await process.clock.wait(timings.beatEveryMs)
    }
  }

  #tellBeat(): Beat {
    const { process, timings, workerId, incarnation, pool } = this.#world
    const nowMs = process.clock.monotonicMs()
    for (const attempt of this.held.values())
      if (nowMs - (attempt.endedAtMs ?? Infinity) > timings.endedNamedMs) this.#forget(attempt)
    const working = this.#rendering ? 'rendering' : 'ready'
    return {
      ...{ workerId, incarnation, pool, engine: 'null', secondsPerVideoSecond: 1 },
      state: this.#isDraining ? 'draining' : this.#isLoaded ? working : 'loading',
      atMs: process.clock.nowMs(),
      time: { loadingSeconds: this.#loadedMs / 1000, idleSeconds: 0, renderingSeconds: 0 },
      jobs: [...this.held.values()].map(({ order, stage, renderedForSeconds }) => ({
        ...{ jobId: order.jobId, owner: order.owner, epoch: order.epoch, stage, percent: 10 },
        ...{ renderedForSeconds, deadlineSeconds: order.deadlineSeconds },
        gpuSeconds: renderedForSeconds,
      })),
    }
  }
}

function renderedOf(jobId: string, epoch: number, frames: number, sha256: string) {
  return {
    key: `jobs/${jobId}/out/${epoch}/video.mp4`,
    ...{
      bytes: 1_000,
      sha256,
      width: 960,
      height: 960,
      frames,
      fps: 25,
      videoSeconds: frames / 25,
    },
    ...{
      engine: 'null',
      generation: { width: 480, height: 480 },
      degraded: false,
      renderSeconds: 1,
    },
  }
}
