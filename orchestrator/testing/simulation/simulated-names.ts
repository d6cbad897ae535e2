import type { JobRecord } from '@avatar/contracts'
import type { PlannedJob } from './simulated-life.ts'

const owners = ['o_000000000001', 'o_000000000002', 'o_000000000003'] as const
const publishers = ['acme', 'other', 'third'] as const

export function jobIdOf(at: number): string {
  return `00000000-0000-4000-8000-${String(at).padStart(12, '0')}`
}

export function ownerOf(owner: PlannedJob['owner'], door: PlannedJob['door']): string {
  return door === 'rest' ? owners[owner] : publishers[owner]
}

/** One line about a record as it was just written. */
export function storyOf({ jobId, state, epoch, worker, deaths, losses, failures }: JobRecord) {
  const counts = `deaths ${deaths}, losses ${losses}, failures ${failures}`
  return `${jobId} ${state}, epoch ${epoch}, ${worker ? `${worker.id} ${worker.incarnation}` : ''} ${counts}`
}
