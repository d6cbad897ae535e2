export { aJob } from './a-job.ts'
export { anEvent, aRender } from './an-event.ts'
