export { killAtRandom, seededRandom } from './chaos.ts'
export { expectAllCompletedOnce, expectCompletedOnce } from './exactly-once.ts'
export { portrait, voice } from './media.ts'
export { processesOf, processIds } from './processes.ts'
export { type Client, createClient, type Submitted } from './rest-client.ts'
export {
  type ProcessName,
  processNames,
  type System,
  type SystemOptions,
  startSystem,
  type Victim,
} from './system.ts'
export { until } from './until.ts'
