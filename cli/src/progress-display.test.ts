import type { StatusView } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'
import { describeProgress } from './progress-display.ts'

const view: StatusView = {
  job_id: '7c1f7c4e-8a0e-4f0e-9a57-0b8f6d7e3a11',
  status: 'processing',
  stage: 'rendering',
  progress: 50,
  queue_position: null,
  waiting_for: null,
  worker: null,
  priority: 'normal',
  attempt: 1,
  audio_seconds: 2,
  estimated_seconds: 2,
  estimated_completion_at: '1970-01-01T00:01:05.000Z',
  deadline_seconds: 600,
  created_at: '1970-01-01T00:00:00.000Z',
  queued_at: null,
  started_at: null,
  finished_at: null,
  expires_at: null,
  deleted_at: null,
  error: null,
  cost: null,
  trace_id: '0'.repeat(32),
  links: { status: '', result: '', events: '', cancel: '' },
}

describe('the progress line', () => {
  it('shows the bar, the stage and the time left', () => {
    const line = describeProgress(view, 0)
    expect(line).toBe(`${'█'.repeat(14)}${'░'.repeat(14)}  50%  rendering  1 min 05 s left`)
  })

  it('counts the last minute in seconds', () => {
    expect(describeProgress(view, 20_000)).toContain('45 s left')
  })

  it('estimates from the pace of the render once the estimate has passed, else shows no time', () => {
    const late = { ...view, progress: 80, started_at: '1970-01-01T00:00:00.000Z' }
    expect(describeProgress(late, 80_000)).toContain('20 s left')
    expect(describeProgress({ ...late, stage: 'storing' }, 80_000)).not.toContain('left')
    expect(describeProgress({ ...late, progress: 1 }, 80_000)).not.toContain('left')
  })

  it('shows the place in the queue while the job waits', () => {
    const waiting = { ...view, stage: 'queued', progress: 0 } as const
    expect(describeProgress({ ...waiting, queue_position: 3 }, 0)).toContain('queued, place 3')
    expect(describeProgress({ ...waiting, queue_position: 1 }, 0)).toContain('next in the queue')
    const held = { ...waiting, queue_position: null }
    expect(describeProgress({ ...held, waiting_for: 'own_jobs' }, 0)).toContain('your other jobs')
    expect(describeProgress({ ...held, waiting_for: 'budget' }, 0)).toContain('budget is spent')
  })

  it('shows the number of an attempt after the first', () => {
    expect(describeProgress({ ...view, attempt: 2 }, 0)).toContain('rendering (attempt 2)')
  })
})
