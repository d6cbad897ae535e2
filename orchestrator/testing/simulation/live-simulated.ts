import {
  buckets,
  isTerminal,
  type JobRecord,
  type OwnerLimits,
  scaleKey,
  scaleSummarySchema,
} from '@avatar/contracts'
import { AppError, seededRandom } from '@avatar/service-kit'
import { LifeChecks } from './check-life.ts'
import { ProgressChecks, type Sight } from './check-progress.ts'
import { Disturbances, isAway } from './disturbances.ts'
import { allEndWithinMs, progressBounds } from './progress-bounds.ts'
import { SimulatedBroker } from './simulated-broker.ts'
import { simulatedBus } from './simulated-bus.ts'
import { cancelUntilTaken, submitUntilAccepted } from './simulated-clients.ts'
import type { LivedLife, PlannedFault, PlannedJob, PlannedLife } from './simulated-life.ts'
import { jobIdOf, ownerOf, storyOf } from './simulated-names.ts'
import {
  type Around,
  log,
  retentionMs,
  startJanitor,
  startOrchestrator,
  sweepEveryMs,
  timings,
} from './simulated-services.ts'
import { SimulatedStore } from './simulated-store.ts'
import type { Stored } from './simulated-streams.ts'
import { SimulatedProcess, SimulatedTime } from './simulated-time.ts'
import { type Disk, SimulatedWorker } from './simulated-worker.ts'

/** A worker that nobody hears for longer may be taken for lost. */
const mayBeLostAfterMs = 15_000
const bounds = progressBounds(timings)
/** After the last end media are deleted, and what workers still name is forgotten. */
const cleanedWithinMs = retentionMs + bounds.told + sweepEveryMs + timings.endedNamedMs
/** A fault is remembered for so long: a connection is found dead, a heartbeat is missed. */
const calmAfterMs = 60_000

type WorkerSlot = {
  id: string
  pool: string
  disk: Disk
  process: SimulatedProcess | undefined
  worker: SimulatedWorker | undefined
  starts: number
}
const runningStates: ReadonlySet<string> = new Set(['claimed', 'rendering', 'cancelling'])

type ServiceSlot = { name: string; process: SimulatedProcess | undefined }

/**
 * Lives one life: the real orchestrators, all of their parts, in a world whose clock, broker, store, workers
 * and clients are simulated. The same plan always lives the same life.
 */
export async function liveSimulated(plan: PlannedLife, tell: Tell = silent): Promise<LivedLife> {
  return new World(plan, tell).live()
}

/** Is told the story of a life, line by line. */
export type Tell = (line: string) => void
const silent: Tell = () => undefined

class World {
  readonly #plan: PlannedLife
  readonly #tell: Tell
  readonly #time = new SimulatedTime()
  readonly #startMs = this.#time.nowMs
  readonly #random
  readonly #broker: SimulatedBroker
  readonly #store = new SimulatedStore(this.#time)
  readonly #checks: LifeChecks
  readonly #progress: ProgressChecks
  readonly #disturbances: Disturbances
  readonly #orchestrators: ServiceSlot[]
  readonly #janitor: ServiceSlot = { name: 'janitor', process: undefined }
  readonly #workers: WorkerSlot[]
  readonly #costs = new Map<string, number>()
  readonly #renders = new Map<string, number>()
  readonly #jobs = new Map<string, PlannedJob>()
  #troubleUntilMs = this.#time.nowMs
  #faults = 0
  readonly #traps: Omit<PlannedFault, 'afterMs'>[] = []
  #waitingClients = 0
  #isOver = false
  #isStuck = false
  #wanted = 0

  constructor(plan: PlannedLife, tell: Tell) {
    this.#plan = plan
    this.#tell = (line) => tell(`${this.#second().toFixed(1).padStart(7)} ${line}`)
    this.#random = seededRandom(plan.seed)
    this.#broker = new SimulatedBroker(this.#time, this.#random, timings)
    this.#checks = new LifeChecks({
      nowMs: () => this.#time.nowMs,
      mostRendersOf: (owner) =>
        owner === ownerOf(2, 'rest') ? plan.orchestrators : Number.POSITIVE_INFINITY,
      hasObject: (key) => this.#store.objects.has(key),
      costsOf: (jobId) => this.#costs.get(jobId) ?? 0,
      faults: () => this.#faults,
      isCalm: () => this.#isCalm(),
    })
    this.#progress = new ProgressChecks(bounds, (what) => {
      this.#checks.complain(what)
      // What follows from it says no more, and would take a long time.
      this.#isStuck = true
    })
    this.#broker.onStored = (stream, message) => {
      if (stream.name === 'EVENTS') this.#tell(`        ${message.subject}`)
      if (stream.name === 'KV_job') this.#tell(storyOf(JSON.parse(message.text)))
      this.#checks.onStored(stream, message)
      this.#spring(stream.name, message)
      if (stream.name === 'KV_job') this.#costUnheard(JSON.parse(message.text))
    }
    this.#orchestrators = Array.from({ length: plan.orchestrators }, (_, at) => ({
      name: `orchestrator-${at + 1}`,
      process: undefined,
    }))
    const idOf = (pool: string, at: number) => `${pool}-${at + 1}`
    this.#workers = [...['local', 'local'], ...(plan.isScaled ? ['elastic', 'elastic'] : [])].map(
      (pool, at) => ({
        ...{ id: idOf(pool, at), pool, disk: new Map(), starts: 0 },
        ...{ process: undefined, worker: undefined },
      }),
    )
    this.#disturbances = new Disturbances({
      ...{ time: this.#time, broker: this.#broker, store: this.#store },
      ...{ orchestrators: this.#orchestrators, workers: this.#workers },
    })
  }

  async live(): Promise<LivedLife> {
    this.#begin()
    const { faults } = this.#plan
    let atMs = this.#time.nowMs
    for (const fault of faults) {
      atMs += fault.afterMs
      this.#time.at(atMs, () => this.#happen(fault))
    }
    const lastJobMs = Math.max(0, ...this.#plan.jobs.map(({ atMs }) => atMs))
    const calmFromMs = Math.max(
      atMs + Math.max(0, ...faults.map(({ forMs }) => forMs)),
      this.#startMs + lastJobMs,
    )
    const settleWithinMs = allEndWithinMs(this.#plan.jobs, bounds, timings) + cleanedWithinMs
    this.#time.at(calmFromMs + settleWithinMs, () => {
      this.#isOver = true
    })
    this.#look(calmFromMs)
    while (!this.#isOver && !this.#isStuck && (await this.#time.step()));
    if (!this.#isStuck)
      this.#checks.atTheEnd({
        objects: [...this.#store.objects.keys()],
        held: this.#workers.flatMap(({ id, worker }) =>
          [...(worker?.held.keys() ?? [])].map((jobId) => `${jobId} of ${id}`),
        ),
        pending: this.#pending(),
      })
    const records = [...this.#checks.records.values()]
    return {
      steps: this.#broker.operations + this.#faults,
      ends: countOf(records.map(({ state }) => state)),
      attempts: records.reduce((sum, { epoch }) => sum + epoch, 0),
      simulatedSeconds: this.#second(),
      violations: this.#checks.violations,
    }
  }

  /** The layout, what the operator allows, and everybody's start. */
  #begin() {
    const operator = new SimulatedProcess(this.#time, 'operator')
    this.#allow(ownerOf(1, 'rest'), { share: 2 })
    this.#allow(ownerOf(2, 'rest'), { renders: 1 })
    for (const slot of this.#orchestrators) this.#startOrchestrator(slot)
    this.#startJanitor()
    for (const slot of this.#workers) if (slot.pool === 'local') this.#startWorker(slot)
    if (this.#plan.isScaled) void this.#scale(operator)
    for (const [at, job] of this.#plan.jobs.entries())
      for (let copy = 0; copy < job.copies; copy++)
        this.#time.at(this.#startMs + job.atMs + copy * 700, () => void this.#submit(job, at))
  }

  #allow(owner: string, limits: OwnerLimits) {
    const { name } = buckets.limits
    this.#broker.store(`KV_${name}`, `$KV.${name}.${owner}`, JSON.stringify(limits))
  }

  /** Looks every second whether all goes on, and whether all is at rest. */
  #look(calmFromMs: number) {
    const look = () => {
      this.#progress.look(this.#sight())
      if (this.#time.nowMs > calmFromMs && this.#isAtRest()) this.#isOver = true
      this.#time.at(this.#time.nowMs + 1_000, look)
    }
    look()
  }

  #sight(): Sight {
    const jobs = [...this.#checks.records.values()]
    const atWork = new Set(
      jobs.filter(({ state }) => runningStates.has(state)).map(({ owner }) => owner),
    )
    // Whoever is started by the scaler may be on its way out.
    const idle = this.#workers.filter(
      (slot) => slot.pool === 'local' && slot.worker?.isIdle && !isAway(slot),
    )
    return {
      nowMs: this.#time.nowMs,
      ...this.#disturbances.look(),
      jobs,
      isEndTold: (jobId) => (this.#checks.facts.get(jobId)?.size ?? 0) > 0,
      idleWorkers: idle.map(({ id, starts }) => `${id} ${starts}`),
      idleAsks: new Set(idle.flatMap(({ worker }) => worker?.idleAsk ?? [])),
      mayStart: ({ owner }) => owner !== ownerOf(2, 'rest') || !atWork.has(owner),
      workMs: (jobId) => 1_000 * (this.#jobs.get(jobId)?.seconds ?? 0),
    }
  }

  #isCalm(): boolean {
    return this.#time.nowMs - this.#troubleUntilMs > calmAfterMs
  }

  #isAtRest(): boolean {
    const records = [...this.#checks.records.values()]
    return (
      this.#waitingClients === 0 &&
      records.length >= this.#checks.accepted.size &&
      records.every((job) => isTerminal(job) && job.deletedAtMs !== undefined) &&
      this.#workers.every(({ worker }) => (worker?.held.size ?? 0) === 0) &&
      // A worker that was suspended may have uploaded after the deletion; the next sweep finds that.
      this.#store.objects.size === 0 &&
      this.#pending() === 0
    )
  }

  #pending(): number {
    return this.#broker.consumers.reduce((sum, { outstanding }) => sum + outstanding.size, 0)
  }

  #second(): number {
    return (this.#time.nowMs - this.#startMs) / 1000
  }

  // What starts, and starts again.

  #startOrchestrator(slot: ServiceSlot) {
    const process = new SimulatedProcess(this.#time, slot.name)
    slot.process = process
    const start = () =>
      startOrchestrator({ ...this.#around(process), isScaled: this.#plan.isScaled })
    this.#untilStarted(slot, process, start, () => this.#startOrchestrator(slot))
  }

  /** A start that fails ends the process, which is started again. */
  #untilStarted(
    slot: ServiceSlot,
    process: SimulatedProcess,
    start: () => Promise<void>,
    again: () => void,
  ) {
    start().catch((error: unknown) => {
      if (!(error instanceof AppError) || !error.mayRetry) throw error
      if (slot.process !== process) return
      this.#end(process)
      this.#time.at(this.#time.nowMs + 1_000, again)
    })
  }

  #startJanitor() {
    const process = new SimulatedProcess(this.#time, 'janitor')
    this.#janitor.process = process
    const start = () => startJanitor({ ...this.#around(process), checks: this.#checks })
    this.#untilStarted(this.#janitor, process, start, () => this.#startJanitor())
  }

  #around(process: SimulatedProcess): Around {
    return { process, store: this.#store, bus: simulatedBus(this.#broker, process, log) }
  }

  #startWorker(slot: WorkerSlot) {
    const process = new SimulatedProcess(this.#time, slot.id)
    const { id: workerId, pool, disk } = slot
    slot.process = process
    const worker = new SimulatedWorker({
      ...{ process, timings, disk, workerId, pool, store: this.#store },
      bus: simulatedBus(this.#broker, process, log),
      incarnation: `i${++slot.starts}`,
      isScaled: pool === 'elastic',
      between: (least, most) => least + this.#random(most - least),
      renderingOf: (jobId) => this.#renderingOf(jobId),
      onRender: (jobId) => this.#renders.set(jobId, (this.#renders.get(jobId) ?? 0) + 1),
      onInputsGone: (jobId) => {
        const job = this.#checks.records.get(jobId)
        if (job && !isTerminal(job)) this.#checks.complain(`the inputs of ${jobId} are gone`)
      },
      die: () => this.#killWorker(slot, 2_000),
      leave: () => this.#leave(slot, process),
    })
    slot.worker = worker
    worker.start()
  }

  #renderingOf(jobId: string) {
    const job = this.#jobs.get(jobId)
    const seconds = job?.seconds ?? 1
    const isFirst = (this.#renders.get(jobId) ?? 0) === 0
    const cost = (end: 'RENDER_FAILED' | 'NO_FACE' | 'death') => {
      this.#cost(jobId)
      return { seconds, end }
    }
    switch (job?.trouble) {
      case 'fails once':
        return isFirst ? cost('RENDER_FAILED') : { seconds, end: undefined }
      case 'fails always':
        return cost('RENDER_FAILED')
      case 'unusable':
        return cost('NO_FACE')
      case 'kills workers':
        return { seconds, end: 'death' as const }
      default:
        return { seconds, end: undefined }
    }
  }

  /** What KEDA does: as many workers of the pool as the orchestrators want. */
  async #scale(process: SimulatedProcess) {
    const bus = simulatedBus(this.#broker, process, log)
    const meta = await bus.records(buckets.meta, scaleSummarySchema)
    for (;;) {
      await process.clock.wait(5_000)
      const found = await meta.find(scaleKey).catch(() => undefined)
      this.#wanted = found?.value.wanted ?? this.#wanted
      const elastic = this.#workers.filter(({ pool }) => pool === 'elastic')
      const there = elastic.filter((slot) => slot.process)
      const free = elastic.find((slot) => !slot.process)
      if (free && there.length < this.#wanted) this.#startWorker(free)
    }
  }

  #leave(slot: WorkerSlot, process: SimulatedProcess) {
    if (slot.process !== process) return
    this.#end(process)
    slot.process = undefined
    slot.worker = undefined
    if (slot.pool === 'local')
      this.#time.at(this.#time.nowMs + 5_000, () => this.#startWorker(slot))
  }

  #end(process: SimulatedProcess) {
    process.isAlive = false
    this.#broker.forget(process)
  }

  async #submit(planned: PlannedJob, at: number) {
    this.#waitingClients++
    const client = new SimulatedProcess(this.#time, 'ingest')
    const jobId = jobIdOf(at)
    this.#jobs.set(jobId, planned)
    const owner = ownerOf(planned.owner, planned.door)
    const around = { ...this.#around(client), checks: this.#checks }
    await submitUntilAccepted(around, { jobId, owner, planned })
    this.#checks.accepted.add(jobId)
    this.#waitingClients--
    if (planned.cancelAfterMs === undefined) return
    await client.clock.wait(planned.cancelAfterMs)
    await cancelUntilTaken(around, { jobId, owner })
  }

  // Faults.

  #happen({ kind, which, forMs }: PlannedFault) {
    this.#faults++
    this.#tell(`--- ${kind} ${which}, ${forMs / 1000} s`)
    const nowMs = this.#time.nowMs
    this.#troubleUntilMs = Math.max(this.#troubleUntilMs, nowMs + forMs)
    const service = this.#orchestrators[which % this.#orchestrators.length]
    const running = this.#workers.filter((slot) => slot.process)
    const slot = running[which % Math.max(1, running.length)]
    switch (kind) {
      case 'kill orchestrator':
        if (service?.process) this.#restart(service, forMs, () => this.#startOrchestrator(service))
        break
      case 'kill orchestrator at a write':
      case 'kill orchestrator at an end':
      case 'kill orchestrator at an event':
        this.#traps.push({ kind, which, forMs })
        break
      case 'suspend orchestrator':
        service?.process?.pauseUntil(nowMs + forMs)
        break
      case 'cut orchestrator':
        service?.process?.cutUntil(nowMs + forMs)
        break
      case 'set a clock':
        if (service?.process) service.process.wallAheadMs = (which - 16) * 600_000
        break
      case 'kill worker':
        if (slot) this.#killWorker(slot, forMs)
        break
      case 'suspend worker':
        slot?.process?.pauseUntil(nowMs + forMs)
        if (slot && forMs > mayBeLostAfterMs) this.#costAll(slot)
        break
      case 'cut worker':
        slot?.process?.cutUntil(nowMs + forMs)
        if (slot && forMs > mayBeLostAfterMs) this.#costAll(slot)
        break
      case 'terminate worker':
        if (slot) this.#costAll(slot)
        void slot?.worker?.drain()
        break
      case 'kill render': {
        const jobId = slot?.worker?.killRender()
        if (jobId) this.#cost(jobId)
        break
      }
      case 'broker away':
        this.#broker.goDown(forMs)
        break
      case 'store away':
        this.#store.awayUntilMs = nowMs + forMs
        break
      case 'kill janitor':
        if (this.#janitor.process) this.#restart(this.#janitor, forMs, () => this.#startJanitor())
        break
      case 'lose messages':
        this.#broker.lossPercent = 10
        this.#time.at(nowMs + forMs, () => {
          this.#broker.lossPercent = 0
        })
    }
  }

  /** A trap that waits for such a message kills its orchestrator before that hears that it is stored. */
  #spring(stream: string, { text }: Stored) {
    const isRecord = stream === 'KV_job'
    const state = isRecord ? (JSON.parse(text) as JobRecord).state : undefined
    const at = this.#traps.findIndex(({ kind }) => {
      if (kind === 'kill orchestrator at an event') return stream === 'EVENTS'
      if (kind === 'kill orchestrator at an end') return state && isTerminal({ state })
      return state && state !== 'pending'
    })
    const [trap] = at < 0 ? [] : this.#traps.splice(at, 1)
    if (trap) this.#happen({ ...trap, kind: 'kill orchestrator', afterMs: 0 })
  }

  /** A job that is claimed for a worker that is not there may be taken for lost. */
  #costUnheard({ jobId, state, worker }: JobRecord) {
    if (state !== 'claimed') return
    const slot = this.#workers.find(({ id }) => id === worker?.id)
    const isThere = slot?.process && !slot.process.isCut && !slot.process.isPaused
    if (!isThere) this.#cost(jobId)
  }

  #restart(slot: ServiceSlot, afterMs: number, start: () => void) {
    if (!slot.process) return
    this.#end(slot.process)
    slot.process = undefined
    if (slot !== this.#janitor) this.#disturbances.noteDeath('orchestrator')
    this.#time.at(this.#time.nowMs + afterMs, start)
  }

  #killWorker(slot: WorkerSlot, afterMs: number) {
    if (!slot.process) return
    this.#disturbances.noteDeath('worker')
    this.#costAll(slot)
    this.#end(slot.process)
    slot.process = undefined
    slot.worker = undefined
    if (slot.pool === 'local')
      this.#time.at(this.#time.nowMs + afterMs, () => this.#startWorker(slot))
  }

  /** Whatever it has in hand, or was given without its knowledge, may be taken for lost. */
  #costAll(slot: WorkerSlot) {
    const inHand = new Set(slot.worker?.held.keys())
    for (const { jobId, worker } of this.#checks.records.values())
      if (worker?.id === slot.id) inHand.add(jobId)
    for (const jobId of inHand) this.#cost(jobId)
  }

  #cost(jobId: string) {
    this.#costs.set(jobId, (this.#costs.get(jobId) ?? 0) + 1)
  }
}

function countOf(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}
