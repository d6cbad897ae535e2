import { setTimeout as pause } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { submitMany, until } from '../../harness/index.ts'
import { filesBehindTls, type Stack } from '../stack.ts'

const loadMs = 60_000
const betweenJobsMs = 1_000
const lookEveryMs = 100
const completedWithinMs = 300_000

/** A release and the one after it, by the variables that docker-compose.yml reads. */
const builds = {
  present: { SERVICES_IMAGE: 'avatar-api:latest', PREVIEW_IMAGE: 'avatar-sidecar:preview' },
  next: { SERVICES_IMAGE: 'avatar-api:next', PREVIEW_IMAGE: 'avatar-sidecar:next' },
}
type Build = keyof typeof builds
/** Services first: those of a release answer the workers of the one before. */
const inOrder = ['orchestrator', 'janitor', 'ingest', 'sidecar']

/** What docs/operations.md says about an upgrade and a rollback by hand. */
export function checkUpgrade(stackOf: () => Stack) {
  it('goes to another build and back under load, and loses no job, key or record', async () => {
    const { project, client, measured, url } = stackOf()
    for (const name of ['SERVICES_IMAGE', 'PREVIEW_IMAGE'] as const)
      await project.build(builds.next[name], `FROM ${builds.present[name]}\nLABEL release=next\n`)
    const [early = ''] = await submitMany(client, 1)
    await client.untilEnded(early, 'completed', completedWithinMs)

    const startedAt = performance.now()
    const api = watchApi(url)
    let isMoving = true
    const submitting = (async () => {
      const accepted: string[] = []
      while (isMoving || performance.now() - startedAt < loadMs) {
        const next = pause(betweenJobsMs)
        const idempotencyKey = `upgrade-${accepted.length}`
        const prompt = 'null:seconds=0.3'
        accepted.push(await client.submitUntilAccepted({ prompt, idempotencyKey }))
        await next
      }
      return accepted
    })()
    await move(stackOf(), 'next')
    await move(stackOf(), 'present')
    isMoving = false
    const accepted = await submitting
    const awayMs = await api.longestAwayMs()

    measured['upgrade and back'] = Math.round(performance.now() - startedAt)
    measured['API away meanwhile'] = Math.round(awayMs)
    measured['jobs accepted meanwhile'] = accepted.length
    for (const jobId of accepted) await client.untilEnded(jobId, 'completed', completedWithinMs)
    // The key of before, and a record of before.
    expect((await client.status(early)).stage).toBe('completed')
  }, 900_000)
}

/** Replaces every container of ours by one of this build, one service after the other. */
async function move({ project }: Stack, build: Build) {
  project.change(filesBehindTls, builds[build])
  for (const repetition of ['first', 'second']) {
    const printed = await project.avatar(['system', 'provision'], { isAlone: true })
    expect(printed, repetition).toBe('Everything is provisioned.\n')
  }
  for (const service of inOrder)
    await project.call(['up', '--detach', '--wait', '--no-deps', '--no-build', service])
  const { stdout } = await project.docker(
    ...['image', 'inspect', '--format', '{{.Id}}', builds[build].SERVICES_IMAGE],
  )
  expect((await project.inspect('ingest')).Image).toBe(stdout.trim())
}

/** Asks for `/health` all the time. */
function watchApi(url: string) {
  let longestMs = 0
  let lastSeenAt = performance.now()
  let isWatching = true
  const look = async () => {
    const answer = await fetch(`${url}/health`, { signal: AbortSignal.timeout(2_000) })
    await answer.body?.cancel()
    const now = performance.now()
    longestMs = Math.max(longestMs, now - lastSeenAt)
    lastSeenAt = now
  }
  const watching = (async () => {
    while (isWatching) {
      await look().catch(() => undefined)
      await pause(lookEveryMs)
    }
  })()
  return {
    /** The longest time without an answer. Ends the watch. */
    async longestAwayMs() {
      isWatching = false
      await watching
      await until(
        () =>
          look().then(
            () => true,
            () => false,
          ),
        { what: 'the API' },
      )
      return longestMs
    },
  }
}
