export { liveThroughWakes, type WakeLifeResult } from './wake-life.ts'
