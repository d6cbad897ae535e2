import { monitoredServices, type ServiceName } from '@avatar/contracts'
import { z } from 'zod'
import type { StackFile } from './stack/stack-file.ts'

const answerWithinMs = 5_000

/** What `/readyz` answers, as far as it is shown. */
const readinessSchema = z.object({
  checks: z.record(z.string(), z.object({ ok: z.boolean(), problem: z.string().optional() })),
  clock: z.object({ ahead_seconds: z.number() }).optional(),
})

/**
 * A service that should answer `/readyz`, what is wrong with it ('' when it is ready), and how far its
 * clock is ahead of the broker's, if it answers.
 */
type ServiceReadiness = { name: ServiceName; trouble: string; clockAheadSeconds?: number }

/** Asks every monitored service whether it is ready. */
export async function readinessOf(stack: StackFile): Promise<ServiceReadiness[]> {
  return Promise.all(
    monitoredServices.map(async (name) => {
      const port = stack.processes[name].ports['metrics'] ?? 0
      return { name, ...(await readinessAt(`http://127.0.0.1:${port}/readyz`)) }
    }),
  )
}

async function readinessAt(url: string): Promise<Omit<ServiceReadiness, 'name'>> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(answerWithinMs) })
    const { checks, clock } = readinessSchema.parse(await answer.json())
    const failed = Object.entries(checks).flatMap(([check, { ok, problem }]) =>
      ok ? [] : [problem ? `${check} (${problem})` : check],
    )
    return {
      trouble: failed.length === 0 ? '' : `not ready: ${failed.join(', ')}`,
      ...(clock ? { clockAheadSeconds: clock.ahead_seconds } : {}),
    }
  } catch {
    return { trouble: 'does not answer' }
  }
}
