import type { EventOf } from '@avatar/contracts'
import type { System } from './system.ts'

/** The completed renders of these jobs, in the order of their starts, by the workers' events. */
export async function rendersOf(system: System, jobIds: readonly string[]) {
  const wanted = new Set(jobIds)
  const broker = await system.broker()
  const ends = new Map<string, EventOf<'render.completed'>>()
  for (const fact of await broker.factsOfType('render.completed')) ends.set(fact.jobId, fact)
  return (await broker.factsOfType('render.started')).flatMap(({ jobId, atMs }) => {
    const end = ends.get(jobId)
    if (!end || !wanted.has(jobId)) return []
    const gpuSeconds = end.used?.gpuSeconds ?? 0
    return [{ jobId, startedAtMs: atMs, endedAtMs: end.renderEndedAtMs, gpuSeconds }]
  })
}
