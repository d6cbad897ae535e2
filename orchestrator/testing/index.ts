export { type LivedThrough, liveThrough, tellLife } from './simulation/index.ts'
export { liveThroughWakes, type WakeLifeResult } from './wake-life.ts'
