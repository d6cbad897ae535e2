import type { EventType } from './events.ts'

/** The class and priority of a queue entry are fixed at admission. There is one of each. */
export const workClass = { class: 'standard', priority: 'normal' } as const

/** Every subject of the system. Lower case, dotted, general to specific. */
export const subjects = {
  event: (type: EventType, jobId: string) => `evt.${type}.${jobId}`,
  /** All events of one job, in the order of the stream. */
  eventsOfJob: (jobId: string) => `evt.*.*.${jobId}`,
  gpuWork: (jobId: string) => `gpu.work.${workClass.class}.${workClass.priority}.${jobId}`,
  scheduledDeletion: (jobId: string) => `sched.delete.${jobId}`,
  dueDeletion: (jobId: string) => `due.delete.${jobId}`,
  notify: (publisher: string, state: string) => `notify.${publisher}.job.${state}`,
  deadLetter: (stream: string, consumer: string) => `dlq.${stream.toLowerCase()}.${consumer}`,
  claim: 'ctl.request.claim',
  store: 'ctl.request.store',
  cancel: 'ctl.request.cancel',
  beat: (workerId: string) => `beat.${workerId}`,
  stop: (workerId: string) => `ctl.stop.${workerId}`,
} as const

/** The publisher, which is the second token of the subject and never a field of the body. */
export function publisherOfSubject(subject: string): string | undefined {
  return /^intake\.([a-z][a-z0-9-]{1,31})\.job\.submitted$/.exec(subject)?.[1]
}
