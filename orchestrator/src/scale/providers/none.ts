import type { WorkerProvider } from './provider.ts'

/** Nothing starts workers but the operator. */
export function noProvider(): WorkerProvider {
  return {
    name: 'none',
    rings: false,
    ring: async () => ({ refused: 'not-allowed' }),
    withdraw: async () => undefined,
    survey: async () => ({ throttledWorkers: 0, otherWorkers: 0 }),
    repair: async () => [],
    showSignOfLife: async () => undefined,
  }
}
