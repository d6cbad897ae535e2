export { processNames } from '@avatar/contracts'
export { until } from '@avatar/service-kit/testing'
export { startAnotherWorker, suspend } from './another-worker.ts'
export { killAtRandom, seededRandom } from './chaos.ts'
export { expectAllCompletedOnce, expectCompletedOnce } from './exactly-once.ts'
export { portrait, voice } from './media.ts'
export type { Cut } from './nats-proxy.ts'
export { childrenOf, processesOf } from './processes.ts'
export { openPublisher, runExamplePublisher } from './publisher.ts'
export { type Client, createClient, type Submitted } from './rest-client.ts'
export {
  patientOrchestrator,
  type System,
  type SystemOptions,
  startSystem,
  type Victim,
} from './system.ts'
export { hasEnginePackages, prepareTinyWeights, tinyEngine } from './tiny-weights.ts'
export { within } from './within.ts'
