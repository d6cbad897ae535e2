import type { WorkerProvider } from './provider.ts'

/** Rings nobody, and has no API to ask. */
const silent = {
  rings: false,
  ring: async () => ({ refused: 'not-allowed' }),
  withdraw: async () => undefined,
  survey: async () => ({ throttledWorkers: 0, otherWorkers: 0 }),
  repair: async () => [],
  billOf: async () => undefined,
  showSignOfLife: async () => undefined,
} as const satisfies Omit<WorkerProvider, 'name'>

/** Nothing starts workers but the operator. */
export const noProvider: WorkerProvider = { name: 'none', ...silent }

/**
 * KEDA reads how many workers are wanted from /metrics and starts a pod for each that is missing: a pod says
 * hello without a wake-up, and is given one.
 */
export const kubernetesProvider: WorkerProvider = { name: 'kubernetes', ...silent }
