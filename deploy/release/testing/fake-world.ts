import { noteRelease, type Release, type ReleaseState, releaseSchema } from '@avatar/contracts'
import type { Ended, Platform, ProviderApi, Smoke } from '../deployment.ts'
import { StepError } from '../deployment.ts'
import type { Tools } from '../release.ts'

export function aRelease(release: string, difference: Partial<Release> = {}): Release {
  const digest = Buffer.from(release).toString('hex').padEnd(64, '0')
  const image = (name: string) => `registry.example/${name}@sha256:${digest}`
  return releaseSchema.parse({
    ...{ release, schema: 1, contracts: 1 },
    images: { services: image('avatar-api'), preview: image('preview'), gpu: image('gpu') },
    ...difference,
  })
}

/** What lasts, whatever happens to a run. */
export type World = {
  state: ReleaseState | undefined
  operator: string
  services: string
  workers: string
  provider: string
  /** The releases that heartbeats name. */
  beats: string[]
  keys: Map<string, boolean>
  backups: string[]
  provisions: number
}

/** A world in which a release was installed, and perhaps noted. */
export function worldOf(installed: Release, isNoted = true): World {
  const { services, preview, gpu } = installed.images
  return {
    state: isNoted ? { current: installed } : undefined,
    ...{ operator: services, services, workers: preview, provider: gpu },
    ...{ beats: [installed.release], keys: new Map(), backups: [], provisions: 0 },
  }
}

export type Trouble = {
  /** The run dies at this call, before or after it has had its effect. */
  diesAt?: { call: number; when: 'before' | 'after' }
  /** The release whose smoke job fails. */
  badRelease?: Release
  planExitCode?: number
  deaf?: boolean
  failsToDeploy?: Release
}

/** A run that works on a world. `died` resolves when it got no further, as a killed process would. */
export function toolsIn(world: World, trouble: Trouble = {}) {
  const calls: string[] = []
  const said: string[] = []
  let tellDeath = () => {}
  const died = new Promise<void>((resolve) => {
    tellDeath = resolve
  })
  const forEver = () => {
    tellDeath()
    return new Promise<never>(() => {})
  }
  async function call<T>(name: string, act: () => T | Promise<T>): Promise<T> {
    calls.push(name)
    const isLast = calls.length === trouble.diesAt?.call
    if (isLast && trouble.diesAt?.when === 'before') return forEver()
    const outcome = await act()
    return isLast ? forEver() : outcome
  }

  const fine = (stdout: string): Ended => ({ exitCode: 0, stdout, stderr: '' })
  const commands: Record<string, (args: readonly string[]) => Ended> = {
    'system release': ([, , , json]) => {
      const note = json === undefined ? undefined : releaseSchema.parse(JSON.parse(json))
      return note ? fine('') : fine(JSON.stringify(viewOf(world.state)))
    },
    'system backup': ([, , folder = '']) => {
      world.backups.push(folder)
      return fine('')
    },
    'system provision': (args) => {
      if (args.includes('--plan'))
        return { exitCode: trouble.planExitCode ?? 0, stdout: 'shrink stream', stderr: '' }
      world.provisions++
      return fine('')
    },
    'workers drain': ([, , , release = '']) => {
      const old = world.beats.filter((beat) => beat !== release)
      const outcome = trouble.deaf ? 'deaf' : 'gone'
      if (!trouble.deaf) world.beats = [release]
      return {
        ...fine(
          JSON.stringify({ workers: old.map((beat) => ({ worker_id: `of-${beat}`, outcome })) }),
        ),
        exitCode: trouble.deaf ? 1 : 0,
      }
    },
    'keys create': () => {
      const id = `k${world.keys.size}`
      world.keys.set(id, true)
      return fine(`${id}\n\nKeep it now\n`)
    },
    'keys list': () =>
      fine(
        JSON.stringify({
          keys: [...world.keys].map(([id, lives]) => ({
            ...{ id, name: 'release-smoke', revoked_at: lives ? null : '2026-01-01T00:00:00Z' },
          })),
        }),
      ),
    'keys revoke': ([, , id = '']) => {
      world.keys.set(id, false)
      return fine('')
    },
  }

  const platform: Platform = {
    name: 'fake',
    avatar: (args) =>
      call(`avatar ${args.slice(0, 3).join(' ')}`, () => {
        const [, , flag, json = ''] = args
        if (flag === '--note') {
          const way = args.includes('--rolled-back') ? 'rolled back' : 'applied'
          world.state = noteRelease(world.state, releaseSchema.parse(JSON.parse(json)), way)
        }
        const command = commands[args.slice(0, 2).join(' ')]
        if (!command) throw new Error(`unknown: ${args.join(' ')}`)
        return command(args)
      }),
    useCommandLine: ({ images }) =>
      call('command line', () => {
        world.operator = images.services
      }),
    deployServices: (release, workers) =>
      call('services', () => {
        world.services = release.images.services
        world.workers = workers.images.preview
        if (trouble.failsToDeploy?.release === release.release)
          throw new StepError('ingest is not ready')
      }),
    deployWorkers: ({ images }) =>
      call('workers', () => {
        world.workers = images.preview
      }),
  }
  const provider: ProviderApi = {
    name: 'fake',
    findImage: () => call('find image', () => world.provider),
    setImage: (image) =>
      call('set image', () => {
        world.provider = image
      }),
  }
  const smoke: Smoke = {
    renderOne: (key) =>
      call('smoke', () => {
        if (!world.keys.get(key)) throw new StepError('the key is not valid')
        if (world.services === trouble.badRelease?.images.services)
          throw new StepError('the smoke job is failed')
        return 'a video'
      }),
  }
  const tools: Tools = {
    ...{ platform, provider, smoke, stamp: `run-${world.backups.length}` },
    verifier: {
      verify: async (image) => {
        if (!image.startsWith('registry.example/')) throw new StepError(`${image} is not ours`)
      },
    },
    say: (line) => said.push(line),
  }
  return { tools, calls, said, died }
}

/** Where a world stands in the end: what was saved on the way does not count. */
export function endOf({ backups: _b, provisions: _p, keys, ...world }: World) {
  return { ...world, livingKeys: [...keys.values()].filter(Boolean).length }
}

function viewOf(state: ReleaseState | undefined) {
  return {
    current: state?.current ?? null,
    previous: state?.previous ?? null,
    rolled_back_from: state?.rolledBackFrom ?? null,
  }
}
