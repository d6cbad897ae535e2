import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createClient } from '../harness/index.ts'
import { type ComposeProject, composeProject, freePorts, hasCompose } from './compose-project.ts'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../..')
const framesPerSecond = 25
const upWithinMs = 300_000
/** Those that end once their work is done. */
const oneShots = ['init', 'provision']
const running = ['nats', 's3', 'ingest', 'orchestrator', 'janitor', 'sidecar']

describe.skipIf(!hasCompose)('the whole system from empty volumes', () => {
  const name = `avatar-test-${process.pid}`
  let project: ComposeProject
  let url = ''
  let key = ''
  let ports: number[] = []
  const tookMs: Record<string, number> = {}

  beforeAll(async () => {
    ports = await freePorts(2)
    const [api = 0, s3 = 0] = ports
    url = `http://127.0.0.1:${api}`
    project = composeProject(name, { API_PORT: String(api), S3_PORT: String(s3) })
    await timed('up', () =>
      project.call(['--profile', 'preview', 'up', '--detach', '--wait', '--no-build']),
    ).catch(async (error: unknown) => {
      const { stdout } = await project.call([
        '--profile',
        '*',
        'logs',
        '--no-color',
        '--tail',
        '20',
      ])
      throw new Error(stdout, { cause: error })
    })
  }, upWithinMs)
  afterAll(async () => {
    console.log('took', tookMs)
    await project.down()
  })

  async function timed<T>(what: string, act: () => Promise<T>): Promise<T> {
    const startedAt = Date.now()
    const result = await act()
    tookMs[what] = Date.now() - startedAt
    return result
  }

  it('makes the first key and a video that the host gets by its link', async () => {
    const { stdout } = await timed('key', () =>
      project.call(['run', '--rm', '-T', 'cli', 'keys', 'create', '--name', 'me']),
    )
    key = stdout.split('\n')[0] ?? ''
    const client = createClient(url, key)
    const audio = await readFile(join(root, 'examples/voice.wav'))
    const video = await timed('job', async () => {
      const { jobId } = await client.submit({
        image: await readFile(join(root, 'examples/portrait.jpg')),
        audio,
      })
      await client.untilEnded(jobId, 'completed', 240_000)
      return client.download(jobId)
    })
    const found = await probe(video)
    expect(found.text).toMatch(/Video: h264 .*(1280x720|720x1280|960x960)/)
    expect(found.text).toMatch(/Audio: aac/)
    const wanted = secondsOf(audio) * framesPerSecond
    expect(Math.abs(found.frames - wanted)).toBeLessThanOrEqual(1)
  })

  it('runs nothing as root, with a right too many or without a limit', async () => {
    const containers = await project.containers()
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
    for (const [service, { Id, Mounts }] of await project.containers()) {
      const { stdout } = await project.docker('diff', Id)
      // The engine puts its init and its mounts there before the first process starts.
      const places = [
        '/tmp',
        '/usr/sbin/docker-init',
        '/sbin/docker-init',
        ...Mounts.map(({ Destination }) => Destination),
      ]
      const elsewhere = stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => line.slice(2))
        .filter((path) => !places.some((place) => place === path || place.startsWith(`${path}/`)))
      expect(elsewhere, service).toEqual([])
    }
  })

  it('shows no secret in inspect, config, history or logs', async () => {
    const secrets = [key, ...(await credentials())]
    expect(secrets.length).toBeGreaterThan(5)
    const containers = await project.containers()
    const ids = [...containers.values()].map(({ Id }) => Id)
    const shown = {
      inspect: (await project.docker('inspect', ...ids)).stdout,
      config: (await project.call(['--profile', '*', 'config'])).stdout,
      logs: (await project.call(['--profile', '*', 'logs', '--no-color'])).stdout,
      history: (
        await Promise.all(['avatar-api:latest', 'avatar-sidecar:preview'].map(history))
      ).join(''),
    }
    for (const [where, text] of Object.entries(shown)) {
      expect(text.length, where).toBeGreaterThan(500)
      expect(secrets.filter((secret) => text.includes(secret)).length, where).toBe(0)
    }
  })

  it('lets a worker reach the broker and S3 alone', async () => {
    const containers = await project.containers()
    const addresses = [...containers]
      .filter(([service]) => service !== 'sidecar')
      .flatMap(([service, { NetworkSettings }]) =>
        Object.values(NetworkSettings.Networks).map(({ IPAddress }) => [service, IPAddress]),
      )
      .filter(([, address]) => address)
    const open = await project.exec(
      'sidecar',
      'python',
      '-c',
      openPorts,
      JSON.stringify([...addresses, ['internet', '1.1.1.1'], ['internet', '8.8.8.8']]),
    )
    expect(JSON.parse(open)).toEqual(['nats:4222', 'nats:8443', 's3:18333', 's3:8333'])
    // S3's gRPC, by which keys could be made.
    expect(await project.exec('sidecar', 'python', '-c', withoutCertificate)).toMatch(
      /certificate required/i,
    )
  }, 240_000)

  it('publishes two ports, on loopback', async () => {
    const { stdout } = await project.docker(
      ...['ps', '--filter', `label=com.docker.compose.project=${name}`, '--format', '{{.Ports}}'],
    )
    const published = [...stdout.matchAll(/(\S+:\d+)->/g)].map(([, address]) => address)
    expect(published.toSorted()).toEqual(ports.map((port) => `127.0.0.1:${port}`).toSorted())
  })

  const shortName = (capability: string) => capability.replace(/^CAP_/, '')
  const history = async (image: string) =>
    (await project.docker('history', '--no-trunc', image)).stdout +
    (await project.docker('image', 'inspect', image)).stdout

  /** Every password and key of the stack, as `init` has made them. */
  async function credentials(): Promise<string[]> {
    const { stdout } = await project.docker(
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
})

/** Prints which ports of the hosts answer, each host once by its name: all ports below 20,000. */
const openPorts = `
import asyncio, json, sys
async def answers(limit, name, host, port):
    async with limit:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 1)
        except (OSError, TimeoutError):
            return None
        writer.close()
        return f"{name}:{port}"
async def is_there(limit, host):
    # A network that drops what it does not carry would take a second for each port.
    try:
        await asyncio.wait_for(asyncio.open_connection(host, 1), 2)
    except TimeoutError:
        return False
    except OSError as error:
        return error.errno == 111
    return True
async def main():
    limit = asyncio.Semaphore(200)
    few = [22, 53, 80, 443, 4222, 6222, 8080, 8222, 8333, 8443, 8888, 9333, 9464, 18888, 19333]
    found = set()
    for name, host in json.loads(sys.argv[1]):
        ports = range(1, 20000) if await is_there(limit, host) else few
        for batch in [ports[i : i + 2000] for i in range(0, len(ports), 2000)]:
            found |= set(await asyncio.gather(*(answers(limit, name, host, p) for p in batch)))
    print(json.dumps(sorted(found - {None})))
asyncio.run(main())
`

/** Prints how S3's gRPC port receives somebody without a certificate. */
const withoutCertificate = `
import socket, ssl
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.set_alpn_protocols(["h2"])
try:
    with context.wrap_socket(socket.create_connection(("s3", 18333), 5)) as door:
        door.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n")
        print("let in", door.recv(100))
except OSError as error:
    print(error)
`

/** Length of a WAV. */
function secondsOf(wav: Buffer): number {
  const data = wav.indexOf('data', 12, 'latin1')
  return wav.readUInt32LE(data + 4) / wav.readUInt32LE(28)
}

/** What ffmpeg says of a video, and how many frames it has. */
async function probe(video: Buffer): Promise<{ text: string; frames: number }> {
  const folder = await mkdtemp(join(tmpdir(), 'avatar-video-'))
  try {
    const file = join(folder, 'video.mp4')
    await writeFile(file, video)
    const { stdout } = await run(join(root, '.venv/bin/python'), [
      '-c',
      'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())',
    ])
    const count = ['-map', '0:v', '-c', 'copy', '-f', 'null', '-']
    const { stderr } = await run(stdout.trim(), ['-hide_banner', '-i', file, ...count])
    return { text: stderr, frames: Number([...stderr.matchAll(/frame=\s*(\d+)/g)].at(-1)?.[1]) }
  } finally {
    await rm(folder, { recursive: true })
  }
}
