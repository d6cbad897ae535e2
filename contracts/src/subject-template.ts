/**
 * Every subject with its ids left open. Spans name messages by them: one name for all jobs, where the
 * subjects themselves would make one for each. `*` stands for a word that is kept.
 */
const templates = [
  'evt.*.*.{job}',
  'sched.delete.{job}',
  'due.delete.{job}',
  'notify.{publisher}.job.*',
  'intake.{publisher}.job.*',
  'dlq.*.*',
  'ctl.request.*',
  'ctl.request.*.{pool}',
  'ctl.stop.{worker}',
  'ctl.drain.{worker}',
  'ledger.job.{month}.{day}.{owner}.{job}',
  'ledger.worker.{month}.{day}.{worker}.{incarnation}',
  'ledger.bill.{month}.{day}.{pool}',
  'telemetry.spans.{worker}',
  'beat.{worker}',
  'broker.health',
].map((template) => template.split('.'))

/**
 * The template of a subject, such as `evt.job.submitted.{job}`, and the job that the subject names. Of a
 * subject that none describes, only the first word is told.
 */
export function templateOf(subject: string): { template: string; jobId?: string } {
  const words = subject.split('.')
  const found = templates.find(
    (template) => template.length === words.length && template.every(fits(words)),
  )
  if (!found) return { template: `${words[0]}.{other}` }
  const template = found.map((part, at) => (part === '*' ? words[at] : part)).join('.')
  const jobId = words[found.indexOf('{job}')]
  return jobId === undefined ? { template } : { template, jobId }
}

function fits(words: readonly string[]) {
  return (part: string, at: number) => part === '*' || part.startsWith('{') || part === words[at]
}
