import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { submitMany } from '../../harness/index.ts'
import type { Stack } from '../stack.ts'

const completedWithinMs = 180_000

/** What docs/deployment.md says about the loss of the broker's disk. */
export function checkRestore(stackOf: () => Stack) {
  it('gets keys, jobs and timers back after the loss of the broker’s volume', async () => {
    const { project, client, timed, download } = stackOf()
    const folder = await mkdtemp(join(tmpdir(), 'avatar-backups-'))
    const withBackups = { mounts: [`${folder}:/backups`] }
    try {
      await chmod(folder, 0o777) // For user 10001.
      const done = await submitMany(client, 2)
      for (const jobId of done) await client.untilEnded(jobId, 'completed', completedWithinMs)
      const [held = ''] = await submitMany(client, 1, { prompt: 'null:seconds=3600' })
      await client.untilView(held, ({ stage }) => stage === 'rendering')
      const queued = await submitMany(client, 2)
      const before = await timed('backup', () =>
        project.avatar(['system', 'backup', '/backups/today', '--json'], withBackups),
      )
      const [lost = ''] = await submitMany(client, 1)

      await project.call(['stop', 'ingest', 'orchestrator', 'janitor', 'sidecar'])
      await project.call(['rm', '--force', '--stop', 'nats', 'init'])
      await project.docker('volume', 'rm', `${project.name}_nats-data`)
      await timed('restore', async () => {
        await project.call(['up', '--detach', '--wait', '--no-build', 'nats'])
        const restore = ['system', 'restore', '/backups/today']
        await project.avatar(restore, { ...withBackups, isAlone: true })
        await project.up('preview', 'edge')
      })

      // The worker that had it is gone, as far as the restored broker knows.
      await client.cancel(held)
      for (const jobId of done) expect((await download(jobId)).length).toBeGreaterThan(0)
      for (const jobId of queued) await client.untilEnded(jobId, 'completed', completedWithinMs)
      expect((await client.send(`/status/${lost}`)).status).toBe(404)
      const after = await project.avatar(
        ['system', 'backup', '/backups/tomorrow', '--json'],
        withBackups,
      )
      expect(timersIn(before)).toBeGreaterThan(0)
      expect(timersIn(after)).toBeGreaterThanOrEqual(timersIn(before))
    } finally {
      await rm(folder, { recursive: true })
    }
  }, 600_000)
}

/** Messages of the stream that holds the timers, of which each ended job has one. */
function timersIn(printed: string): number {
  const { streams } = JSON.parse(printed) as { streams: { name: string; messages: number }[] }
  return streams.find(({ name }) => name === 'SCHED')?.messages ?? 0
}
