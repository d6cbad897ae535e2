import type { SimulatedBroker } from './simulated-broker.ts'
import type { SimulatedStore } from './simulated-store.ts'
import type { SimulatedProcess, SimulatedTime } from './simulated-time.ts'

type Slot = { process: SimulatedProcess | undefined }
type Around = {
  time: SimulatedTime
  broker: SimulatedBroker
  store: SimulatedStore
  orchestrators: readonly Slot[]
  workers: readonly Slot[]
}

/** What is wrong in a life right now: not what was planned, but what the faults have come to. */
export class Disturbances {
  readonly #around: Around
  readonly #died = new Set<'orchestrator' | 'worker'>()

  constructor(around: Around) {
    this.#around = around
  }

  /** A death is over at once, and leaves a silence. */
  noteDeath(of: 'orchestrator' | 'worker'): void {
    this.#died.add(of)
  }

  /** Everything since the last look. The janitor disturbs no job, and a wrong wall clock nobody. */
  look(): { isDisturbed: boolean; isWorkDisturbed: boolean } {
    const { time, broker, store, orchestrators, workers } = this.#around
    const died = new Set(this.#died)
    this.#died.clear()
    const running = orchestrators.filter(({ process }) => process?.isAlive)
    return {
      // A dead one disturbs nobody while another one lives: the broker knows that it is gone.
      isDisturbed:
        died.has('orchestrator') ||
        broker.downUntilMs > time.nowMs ||
        broker.lossPercent > 0 ||
        running.length === 0 ||
        running.some(isAway),
      isWorkDisturbed: store.isAway || died.has('worker') || workers.some(isAway),
    }
  }
}

/** Whether it runs, and cannot be reached or stands still. */
export function isAway({ process }: Slot): boolean {
  return process !== undefined && (process.isCut || process.isPaused)
}
