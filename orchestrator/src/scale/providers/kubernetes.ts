import type { WorkerProvider } from './provider.ts'

/**
 * KEDA reads how many workers are wanted from /metrics and starts a pod for each that is missing. Nothing is
 * rung for here and no API is asked: a pod says hello without a wake-up, and is given one.
 */
export function kubernetesProvider(): WorkerProvider {
  return {
    name: 'kubernetes',
    rings: false,
    ring: async () => ({ refused: 'not-allowed' }),
    withdraw: async () => undefined,
    survey: async () => ({ throttledWorkers: 0, otherWorkers: 0 }),
    repair: async () => [],
    showSignOfLife: async () => undefined,
  }
}
