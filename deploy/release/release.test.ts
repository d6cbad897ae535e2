import { describe, expect, it } from 'vitest'
import { apply, NoPreviousRelease, rollback } from './release.ts'
import { ReleaseFailed } from './run-steps.ts'
import {
  aRelease,
  endOf,
  type Trouble,
  toolsIn,
  type World,
  worldOf,
} from './testing/fake-world.ts'

const one = aRelease('1.0.0')
const two = aRelease('1.1.0')

/** A world with `two` installed over `one`. */
async function upgraded(): Promise<World> {
  const world = worldOf(one)
  await apply(two, toolsIn(world).tools)
  return world
}

const installed = (release: typeof one) => ({
  operator: release.images.services,
  services: release.images.services,
  workers: release.images.preview,
  provider: release.images.gpu,
  beats: [release.release],
  livingKeys: 0,
})

describe('apply', () => {
  it('takes its steps in order, services before workers, and notes the release last', async () => {
    const world = worldOf(one)
    const { tools, calls } = toolsIn(world)
    await apply(two, tools)
    expect(calls).toEqual([
      'avatar system release --json',
      'command line',
      'avatar system backup /backups/run-0',
      'avatar system provision --plan',
      'avatar system provision',
      'services',
      'workers',
      'find image',
      'set image',
      'avatar workers drain --older',
      'avatar keys create --name',
      'smoke',
      'avatar keys list --json',
      'avatar keys revoke k0',
      'avatar system release --note',
    ])
    expect(endOf(world)).toEqual({ ...installed(two), state: { current: two, previous: one } })
  })

  it('changes nothing when the release is there, and does not touch the endpoint', async () => {
    const world = await upgraded()
    const before = endOf(world)
    const { tools, calls } = toolsIn(world)
    await apply(two, tools)
    expect(endOf(world)).toEqual(before)
    expect(calls).not.toContain('set image')
  })

  it('undoes what it has done, the last first, when the smoke job fails', async () => {
    const world = worldOf(one)
    const { tools, calls, said } = toolsIn(world, { badRelease: two })
    await expect(apply(two, tools)).rejects.toThrow(/^smoke failed: the smoke job is failed$/)
    expect(endOf(world)).toEqual({ ...installed(one), state: { current: one } })
    const undone = said.filter((line) => line.startsWith('undoing'))
    expect(undone).toEqual([
      'undoing workers …',
      'undoing control plane …',
      'undoing command line …',
    ])
    expect(calls.at(-1)).toBe('command line')
  })

  it.each<[string, Trouble, RegExp]>([
    ['the plan would lose data', { planExitCode: 1 }, /^plan failed: .*shrink stream/],
    ['services do not get ready', { failsToDeploy: two }, /^control plane failed: ingest is not/],
    ['a worker does not obey', { deaf: true }, /^workers failed: of-1.0.0 did not obey/],
  ])('goes back when %s', async (_why, trouble, sentence) => {
    const world = worldOf(one)
    const failing = apply(two, toolsIn(world, trouble).tools)
    await expect(failing).rejects.toThrow(sentence)
    const { state, services, operator } = endOf(world)
    expect(state).toEqual({ current: one })
    expect([services, operator]).toEqual([one.images.services, one.images.services])
  })

  it('changes nothing for an image that is not ours, or contracts that are too far', async () => {
    const world = worldOf(one)
    const before = endOf(world)
    const strange = {
      ...two,
      images: { ...two.images, gpu: `elsewhere/gpu@sha256:${'0'.repeat(64)}` },
    }
    await expect(apply(strange, toolsIn(world).tools)).rejects.toThrow(/is not ours/)
    const far = aRelease('3.0.0', { contracts: 3 })
    await expect(apply(far, toolsIn(world).tools)).rejects.toThrow(/install a release between/)
    expect(endOf(world)).toEqual(before)
    expect(world.backups).toEqual([])
  })

  it('says what it cannot undo where no release was noted', async () => {
    const world = worldOf(one, false)
    const failed = await apply(two, toolsIn(world, { badRelease: two }).tools).catch(
      (error) => error,
    )
    expect(failed).toBeInstanceOf(ReleaseFailed)
    expect(failed.notUndone).toContain('control plane: no release was noted here before')
    await apply(two, toolsIn(world).tools)
    expect(endOf(world)).toEqual({ ...installed(two), state: { current: two } })
  })
})

describe('rollback', () => {
  it('returns to the release before without provisioning, once', async () => {
    const world = await upgraded()
    const provisions = world.provisions
    await rollback(toolsIn(world).tools)
    const back = { ...installed(one), state: { current: one, rolledBackFrom: '1.1.0' } }
    expect(endOf(world)).toEqual(back)
    expect(world.provisions).toBe(provisions)
    const again = toolsIn(world)
    await rollback(again.tools)
    expect(endOf(world)).toEqual(back)
    expect(again.said).toEqual(['1.0.0 is installed; 1.1.0 was given up for it before.'])
  })

  it('has nothing to return to at first', async () => {
    await expect(rollback(toolsIn(worldOf(one)).tools)).rejects.toThrow(NoPreviousRelease)
  })

  it('stays where it was when the release before does not work either', async () => {
    const world = await upgraded()
    const before = endOf(world)
    await expect(rollback(toolsIn(world, { badRelease: one }).tools)).rejects.toThrow(
      /^smoke failed/,
    )
    expect(endOf(world)).toEqual(before)
  })
})

describe('a run that is cut off at any call', () => {
  const ways = [
    { name: 'apply', begin: async () => worldOf(one), act: (t: Tools) => apply(two, t) },
    { name: 'rollback', begin: upgraded, act: (t: Tools) => rollback(t) },
  ]
  type Tools = ReturnType<typeof toolsIn>['tools']

  for (const { name, begin, act } of ways)
    it(`ends as an undisturbed one when it is run again: ${name}`, async () => {
      const whole = await begin()
      const { tools, calls } = toolsIn(whole)
      await act(tools)
      expect(calls.length).toBeGreaterThan(9)
      for (let call = 1; call <= calls.length; call++)
        for (const when of ['before', 'after'] as const) {
          const world = await begin()
          const cut = toolsIn(world, { diesAt: { call, when } })
          void act(cut.tools)
          await cut.died
          await act(toolsIn(world).tools)
          expect(endOf(world), `${when} call ${call}, ${calls[call - 1]}`).toEqual(endOf(whole))
        }
    })

  it('and, when the second one fails, goes back to what was there before the first', async () => {
    const { tools, calls } = toolsIn(worldOf(one))
    await apply(two, tools)
    // The last call notes the release: after it, there is nothing to go back from.
    for (let call = 1; call < calls.length; call++) {
      const world = worldOf(one)
      const cut = toolsIn(world, { diesAt: { call, when: 'after' } })
      void apply(two, cut.tools)
      await cut.died
      await expect(apply(two, toolsIn(world, { badRelease: two }).tools)).rejects.toThrow('smoke')
      expect(endOf(world), `call ${call}`).toEqual({ ...installed(one), state: { current: one } })
    }
  })
})
