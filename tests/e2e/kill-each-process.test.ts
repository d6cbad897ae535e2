import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type System, startSystem } from '../harness/index.ts'

/** Jobs in flight while a process dies: one that renders, and some behind it. */
const jobsInFlight = 4

describe('kill -9 in the middle of work', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem()
  }, 90_000)
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  }, 90_000)

  async function submitSome(label: string): Promise<string[]> {
    return Promise.all(
      Array.from({ length: jobsInFlight }, (_, number) =>
        system.client.submitUntilAccepted({
          prompt: 'null:seconds=1',
          idempotencyKey: `${label}-${number}`,
        }),
      ),
    )
  }

  async function untilAllDone(jobIds: readonly string[]) {
    for (const jobId of jobIds) await system.client.untilEnded(jobId, 'completed', 90_000)
    for (const jobId of jobIds) {
      const result = await system.client.result(jobId)
      expect((await system.client.download(jobId)).length).toBe(result.bytes)
    }
  }

  for (const name of ['ingest', 'orchestrator', 'janitor', 'sidecar', 's3', 'nats'] as const)
    it(`completes every job when ${name} is killed`, async () => {
      const jobIds = await submitSome(name)
      await system.client.untilView(jobIds[0] ?? '', (view) => view.status !== 'pending')
      await system.killProcess(name)
      await untilAllDone(jobIds)
    }, 180_000)

  it('completes every job when the render process is killed', async () => {
    const jobIds = await submitSome('child')
    await system.client.untilView(jobIds[0] ?? '', (view) => view.status !== 'pending')
    const child = await system.renderChild()
    if (child !== undefined) process.kill(child, 'SIGKILL')
    expect(child).toBeDefined()
    await untilAllDone(jobIds)
  }, 180_000)
})
