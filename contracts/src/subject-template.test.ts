import { expect, it } from 'vitest'
import { templateOf } from './subject-template.ts'
import { subjects } from './subjects.ts'

const job = '11111111-1111-4111-8111-111111111111'

it('leaves the ids of a subject open and names its job', () => {
  const { event, scheduledDeletion, dueDeletion, jobPosting } = subjects
  const ofJob = {
    [event('job.submitted', job)]: 'evt.job.submitted.{job}',
    [event('render.completed', job)]: 'evt.render.completed.{job}',
    [scheduledDeletion(job)]: 'sched.delete.{job}',
    [dueDeletion(job)]: 'due.delete.{job}',
    [jobPosting('2026-11-29', 'acme', job)]: 'ledger.job.{month}.{day}.{owner}.{job}',
  }
  for (const [subject, template] of Object.entries(ofJob))
    expect(templateOf(subject)).toEqual({ template, jobId: job })
})

it('knows every other subject, and tells neither publishers nor workers', () => {
  const others = {
    [subjects.notify('acme', 'completed')]: 'notify.{publisher}.job.completed',
    'intake.acme.job.submitted': 'intake.{publisher}.job.submitted',
    [subjects.deadLetter('EVENTS', 'orchestrator')]: 'dlq.events.orchestrator',
    [subjects.workerPosting('2026-11-29', 'w1', 'i1')]:
      'ledger.worker.{month}.{day}.{worker}.{incarnation}',
    [subjects.billPosting('2026-11-29', 'l40s')]: 'ledger.bill.{month}.{day}.{pool}',
    [subjects.cancel]: 'ctl.request.cancel',
    [subjects.next('l40s')]: 'ctl.request.next.{pool}',
    [subjects.hello('l40s')]: 'ctl.request.hello.{pool}',
    [subjects.stop('w1')]: 'ctl.stop.{worker}',
    [subjects.drain('w1')]: 'ctl.drain.{worker}',
    [subjects.spans('w1')]: 'telemetry.spans.{worker}',
    [subjects.beat('w1')]: 'beat.{worker}',
    [subjects.brokerHealth]: 'broker.health',
  }
  for (const [subject, template] of Object.entries(others))
    expect(templateOf(subject)).toEqual({ template })
})

it('tells only the first word of a subject that it does not know', () => {
  expect(templateOf(`evt.secret.${job}`)).toEqual({ template: 'evt.{other}' })
})
