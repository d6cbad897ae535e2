import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type Client,
  cancelMany,
  holdWorkers,
  rendersOf,
  type SubmitOptions,
  type System,
  startSystem,
  submitMany,
  voice,
} from '../harness/index.ts'

/** Jobs of one chunk and of two, which take about as long as the engine claims by its pace. */
const short: SubmitOptions = { audio: voice({ seconds: 3 }), prompt: 'null:seconds=0.24' }
const long: SubmitOptions = { audio: voice({ seconds: 5 }), prompt: 'null:seconds=0.4' }
const pace = '0.08'

/** GPU seconds by which a job of high priority may run ahead of its owner's share, with the tests' waits. */
const headStartSeconds = 6

describe('several owners who wait at once', () => {
  let system: System
  beforeAll(async () => {
    // Jobs wait by what they are expected to take; an engine that claims to need no time has no order.
    const env = { NULL_SECONDS_PER_VIDEO_SECOND: pace }
    system = await startSystem({ env })
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  })

  async function ownerNamed(name: string, ...limits: string[]): Promise<Client> {
    const key = await system.createKey(name)
    if (limits.length > 0) await system.cli('keys', 'limits', name, ...limits)
    return system.clientWith(key)
  }

  // With no more jobs than tell one order from another: how many wait is what bench/load is about.
  it('ten jobs of one are done within the time of 25, behind 60 of another', async () => {
    const [many, few] = [await ownerNamed('many'), await ownerNamed('few')]
    const releaseBefore = await holdWorkers(system)
    const jobsOfMany = await submitMany(many, 60, short)
    await releaseBefore()
    await many.untilEnded(jobsOfMany[10] ?? '', 'completed')

    // What runs now are the holder's jobs, so that no time passes between the ten submissions.
    const release = await holdWorkers(system)
    const jobsOfFew = await submitMany(few, 10, short)
    const places = await Promise.all(jobsOfFew.map(few.status))
    const releasedAtMs = Date.now()
    await release()
    const positions = places.map(({ queue_position }) => queue_position ?? 0)
    expect(Math.max(...positions)).toBeLessThanOrEqual(25)
    // The other owner's jobs are not behind all of them either.
    expect(Math.max(...positions)).toBeGreaterThan(10)
    for (const jobId of jobsOfFew) await few.untilEnded(jobId, 'completed')
    // Counted by their starts: a busy machine may upload a later video first.
    const renders = await rendersOf(system, [...jobsOfMany, ...jobsOfFew])
    const since = renders.filter(({ startedAtMs }) => startedAtMs >= releasedAtMs)
    const lastOfFew = since.findLastIndex(({ jobId }) => jobsOfFew.includes(jobId))
    expect(lastOfFew + 1).toBeLessThanOrEqual(25)
    await cancelMany(many, jobsOfMany)
  })

  it('three with shares of 1, 1 and 2 get their parts of the GPU seconds', async () => {
    const owners = [
      { client: await ownerNamed('one'), share: 1, count: 15, job: short },
      { client: await ownerNamed('another'), share: 1, count: 10, job: long },
      { client: await ownerNamed('double', '--share', '2'), share: 2, count: 30, job: short },
    ]
    const release = await holdWorkers(system)
    const backlogs: string[][] = []
    for (const { client, count, job } of owners) backlogs.push(await submitMany(client, count, job))
    await release()
    for (const [at, jobIds] of backlogs.entries())
      for (const jobId of jobIds) await owners[at]?.client.untilEnded(jobId, 'completed')

    const renders = await Promise.all(backlogs.map((own) => rendersOf(system, own)))
    // Until the first of them has no further job to start.
    const untilMs = Math.min(...renders.map((own) => own.at(-1)?.startedAtMs ?? 0))
    const gpuSeconds = renders.map((own) =>
      own
        .map((render) => ({ ...render, sinceMs: render.endedAtMs - render.gpuSeconds * 1000 }))
        .map(({ sinceMs, endedAtMs }) => Math.max(0, Math.min(endedAtMs, untilMs) - sinceMs) / 1000)
        .reduce((sum, each) => sum + each, 0),
    )
    const all = gpuSeconds.reduce((sum, each) => sum + each, 0)
    const shown = gpuSeconds.map((each) => each.toFixed(2)).join(', ')
    console.log(`fair share: ${shown} GPU seconds`)
    // Within a tenth, and a job: no render is cut short at the end of the window.
    const longest = Math.max(...renders.flat().map((render) => render.gpuSeconds))
    for (const [at, { share }] of owners.entries()) {
      const part = (all * share) / 4
      const difference = Math.abs((gpuSeconds[at] ?? 0) - part)
      expect(difference, `${shown}, ${longest} at most`).toBeLessThan(0.1 * part + longest)
    }
  })

  it('a job of high priority goes before the normal ones of its owner', async () => {
    const owner = await ownerNamed('urgent')
    const release = await holdWorkers(system)
    const normal = await submitMany(owner, 6, short)
    const high = await submitMany(owner, 2, { ...short, priority: 'high' })
    const views = await Promise.all(high.map(owner.status))
    await release()
    expect(views.map(({ queue_position }) => queue_position).sort()).toEqual([1, 2])
    for (const jobId of [...normal, ...high]) await owner.untilEnded(jobId, 'completed')
    const started = (await rendersOf(system, [...normal, ...high])).map(({ jobId }) => jobId)
    expect(started.slice(0, 2).sort()).toEqual(high.toSorted())
  })

  it('nobody starves behind one whose jobs are all of high priority', async () => {
    const [loud, modest] = [await ownerNamed('loud'), await ownerNamed('modest')]
    const release = await holdWorkers(system)
    const jobsOfLoud = await submitMany(loud, 40, { ...long, priority: 'high' })
    const jobsOfModest = await submitMany(modest, 3, short)
    const releasedAtMs = Date.now()
    await release()
    for (const jobId of jobsOfModest) await modest.untilEnded(jobId, 'completed')
    const lastStartedAtMs = Math.max(
      ...(await rendersOf(system, jobsOfModest)).map(({ startedAtMs }) => startedAtMs),
    )
    // Those that started before the last of the three; more have started since.
    const before = (await rendersOf(system, jobsOfLoud)).filter(
      ({ startedAtMs }) => startedAtMs >= releasedAtMs && startedAtMs < lastStartedAtMs,
    )
    expect(before.length).toBeLessThan(jobsOfLoud.length)
    const ahead = before.reduce((sum, { gpuSeconds }) => sum + gpuSeconds, 0)
    // Each of the three may also wait for jobs that were claimed before.
    const longest = Math.max(...before.map(({ gpuSeconds }) => gpuSeconds))
    const shown = before.map(({ gpuSeconds }) => gpuSeconds.toFixed(2)).join(', ')
    expect(ahead, shown).toBeLessThan(headStartSeconds + 4 * Math.max(1, longest))
    await cancelMany(loud, jobsOfLoud)
  })
})
