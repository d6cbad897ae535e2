import { monitoredServices, type ServiceName } from '@avatar/contracts'
import { z } from 'zod'
import type { StackFile } from './stack/stack-file.ts'

const answerWithinMs = 5_000

/** What `/readyz` answers, as far as it is shown. */
const readinessSchema = z.object({ checks: z.record(z.string(), z.object({ ok: z.boolean() })) })

/** A service that answers `/readyz`, and what is wrong with it: '' when it is ready. */
type ServiceReadiness = { name: ServiceName; trouble: string }

/** Asks every monitored service whether it is ready. */
export async function readinessOf(stack: StackFile): Promise<ServiceReadiness[]> {
  return Promise.all(
    monitoredServices.map(async (name) => {
      const port = stack.processes[name].ports['metrics'] ?? 0
      return { name, trouble: await troubleAt(`http://127.0.0.1:${port}/readyz`) }
    }),
  )
}

async function troubleAt(url: string): Promise<string> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(answerWithinMs) })
    const { checks } = readinessSchema.parse(await answer.json())
    const failed = Object.entries(checks).flatMap(([check, { ok }]) => (ok ? [] : [check]))
    return failed.length === 0 ? '' : `not ready: ${failed.join(', ')}`
  } catch {
    return 'does not answer'
  }
}
