import { expect, it } from 'vitest'
import type { ComposeProject } from '../compose-project.ts'
import { oneShots, running, type Stack } from '../stack.ts'

/** What whoever breaks into a container finds there, and what anybody can read from outside. */
export function checkConfinement(stackOf: () => Stack) {
  it('runs nothing as root, with a right too many or without a limit', async () => {
    const containers = await stackOf().project.containers()
    expect([...containers.keys()].toSorted()).toEqual([...oneShots, ...running].toSorted())
    for (const [service, { HostConfig, Config, State }] of containers) {
      expect(HostConfig, service).toMatchObject({
        ReadonlyRootfs: true,
        Privileged: false,
        CapDrop: ['ALL'],
        SecurityOpt: expect.arrayContaining(['no-new-privileges:true']),
        LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '3' } },
      })
      expect(HostConfig.Memory, service).toBeGreaterThan(0)
      expect(HostConfig.PidsLimit, service).toBeGreaterThan(0)
      expect(Config.User, service).toBe(service === 'init' ? '0:0' : '10001:10001')
      expect(State, service).toMatchObject(
        oneShots.includes(service) ? { Status: 'exited', ExitCode: 0 } : { Status: 'running' },
      )
    }
    expect(containers.get('init')?.HostConfig.CapAdd?.map(shortName).toSorted()).toEqual([
      'CHOWN',
      'DAC_OVERRIDE',
      'FOWNER',
    ])
  })

  it.each(running)('gives the processes of %s no capability', async (service) => {
    const { project } = stackOf()
    const status = await project.exec(service, 'sh', '-c', 'cat /proc/[0-9]*/status')
    const valuesOf = (field: string) =>
      [...status.matchAll(new RegExp(`^${field}:\\s+(\\S+)`, 'gm'))].map(([, value]) => value)
    expect(new Set(valuesOf('Uid'))).toEqual(new Set(['10001']))
    expect(new Set(valuesOf('CapEff'))).toEqual(new Set(['0000000000000000']))
    expect(new Set(valuesOf('CapPrm'))).toEqual(new Set(['0000000000000000']))
    expect(new Set(valuesOf('NoNewPrivs'))).toEqual(new Set(['1']))
    await expect(project.exec(service, 'sh', '-c', 'echo x > /written')).rejects.toThrow(
      /Read-only file system/,
    )
  })

  it('writes nothing outside its mounts', async () => {
    const { project } = stackOf()
    const containers = [...(await project.containers())]
    // The engine compares whole trees of files.
    const changes = await Promise.all(
      containers.map(async ([_service, { Id }]) => (await project.docker('diff', Id)).stdout),
    )
    for (const [at, [service, { Mounts }]] of containers.entries()) {
      // The engine puts its init and its mounts there before the first process starts.
      const places = [
        '/tmp',
        '/usr/sbin/docker-init',
        '/sbin/docker-init',
        ...Mounts.map(({ Destination }) => Destination),
      ]
      const elsewhere = (changes[at] ?? '')
        .split('\n')
        .filter(Boolean)
        .map((line) => line.slice(2))
        .filter((path) => !places.some((place) => place === path || place.startsWith(`${path}/`)))
      expect(elsewhere, service).toEqual([])
    }
  })

  it('shows no secret in inspect, config, history or logs', async () => {
    const { project, key } = stackOf()
    const secrets = [key, ...(await credentialsOf(project))]
    expect(secrets.length).toBeGreaterThan(5)
    const containers = await project.containers()
    const ids = [...containers.values()].map(({ Id }) => Id)
    const shown = {
      inspect: (await project.docker('inspect', ...ids)).stdout,
      config: (await project.call(['--profile', '*', 'config'])).stdout,
      logs: (await project.call(['--profile', '*', 'logs', '--no-color'])).stdout,
      history: (
        await Promise.all(
          ['avatar-api:latest', 'avatar-sidecar:preview'].map((image) => history(project, image)),
        )
      ).join(''),
    }
    for (const [where, text] of Object.entries(shown)) {
      expect(text.length, where).toBeGreaterThan(500)
      expect(secrets.filter((secret) => text.includes(secret)).length, where).toBe(0)
    }
  })
}

const shortName = (capability: string) => capability.replace(/^CAP_/, '')

const history = async ({ docker }: ComposeProject, image: string) =>
  (await docker('history', '--no-trunc', image)).stdout +
  (await docker('image', 'inspect', image)).stdout

/** Every password and key of the stack, as `init` has made them. */
async function credentialsOf({ docker, name }: ComposeProject): Promise<string[]> {
  const { stdout } = await docker(
    ...['run', '--rm', '--user', '0:0', '--network', 'none'],
    ...['--volume', `${name}_credentials:/credentials:ro`, 'avatar-api:latest'],
    ...['cat', '/credentials/credentials.json'],
  )
  const { nats, s3 } = JSON.parse(stdout) as {
    nats: Record<string, string>
    s3: { secretAccessKey: string }
  }
  return [...Object.values(nats), s3.secretAccessKey]
}
