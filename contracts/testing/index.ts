export { aJob } from './a-job.ts'
export { aJobPosting, aSpent, aWorkerPosting } from './a-posting.ts'
export { anEvent, aRender } from './an-event.ts'
