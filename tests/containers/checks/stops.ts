import { expect, it } from 'vitest'
import { running, type Stack } from '../stack.ts'

/** Longer than asking for the state of a container takes. */
const renderSeconds = 5
const completedWithinMs = 180_000
/** SeaweedFS does not end by SIGTERM; it loses nothing that it has acknowledged. */
const exitCodeOf = (service: string) => (service === 's3' ? 137 : 0)
/** A worker hands its job back, and renders it anew. */
const attemptsWithout = (service: string) => (service === 'sidecar' ? 2 : 1)

/** `docker stop`: an exit code of 137 would say that the grace was too short. */
export function checkStops(stackOf: () => Stack) {
  it('ends everything within its grace while it is idle', async () => {
    const { project, measured } = stackOf()
    const services = [...running.toReversed(), 'caddy']
    const exitCodes: Record<string, number> = {}
    for (const service of services) {
      const { exitCode, tookMs } = await project.stop(service)
      measured[`stop ${service}, idle`] = tookMs
      exitCodes[service] = exitCode
    }
    expect(exitCodes).toEqual(Object.fromEntries(services.map((name) => [name, exitCodeOf(name)])))
    await project.up('preview', 'edge')
  })

  it.each(running)('completes the job during which %s was stopped', async (service) => {
    const { project, client, measured, startMs, download } = stackOf()
    const jobId = await client.submitUntilAccepted({
      prompt: `null:seconds=${renderSeconds}`,
      idempotencyKey: `stop-${service}`,
    })
    await client.untilView(jobId, ({ stage }) => stage === 'rendering')
    const { exitCode, tookMs } = await project.stop(service)
    measured[`stop ${service}, mid-render`] = tookMs
    expect(exitCode).toBe(exitCodeOf(service))
    const untilHealthy = await project.start(service)
    const [view] = await Promise.all([
      client.untilEnded(jobId, 'completed', completedWithinMs),
      untilHealthy().then((tookMs) => startMs.set(service, tookMs)),
    ])
    expect(view.attempt).toBe(attemptsWithout(service))
    expect((await download(jobId)).length).toBeGreaterThan(0)
  })
}
