import { AppError, type ObjectStore } from '@avatar/service-kit'
import type { SimulatedProcess, SimulatedTime } from './simulated-time.ts'

type Kept = { bytes: number; sha256: string; atMs: number }

/** The object store of a simulated world: it stores a key once, and is away now and then. */
export class SimulatedStore {
  readonly objects = new Map<string, Kept>()
  awayUntilMs = 0
  readonly #time: SimulatedTime

  constructor(time: SimulatedTime) {
    this.#time = time
  }

  get isAway(): boolean {
    return this.awayUntilMs > this.#time.nowMs
  }

  /** @returns whether exactly this content is stored under the key now */
  put(key: string, { bytes, sha256 }: Omit<Kept, 'atMs'>): boolean {
    if (!this.objects.has(key)) this.objects.set(key, { bytes, sha256, atMs: this.#time.nowMs })
    return this.objects.get(key)?.sha256 === sha256
  }

  /** @returns the keys of a job that were there */
  deleteAll(prefix: string): string[] {
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix))
    for (const key of keys) this.objects.delete(key)
    return keys
  }

  /** The store as a service sees it: what the orchestrator asks of it, and nothing else. */
  seenBy(process: SimulatedProcess): ObjectStore {
    const link = async (key: string) => `https://store.example/${key}`
    const seen: Pick<
      ObjectStore,
      'head' | 'presignGet' | 'presignPut' | 'presignLink' | 'isReachable'
    > = {
      head: async (key) => {
        await process.clock.wait(20)
        if (this.isAway || process.isCut) {
          await process.clock.wait(3_000)
          throw new AppError('STORE_UNAVAILABLE')
        }
        const found = this.objects.get(key)
        return found && { bytes: found.bytes, sha256: found.sha256 }
      },
      presignGet: link,
      presignPut: async (key) => ({ url: await link(key), headers: {} }),
      presignLink: link,
      isReachable: async () => !this.isAway,
    }
    return seen as ObjectStore
  }
}
