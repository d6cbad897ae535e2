import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { runTool, skipsWithout } from '../testing/python-tools.ts'
import { environmentSchema } from './config.ts'
import { cosignVerifier } from './cosign.ts'
import { composePlatform } from './platforms/compose.ts'
import { kubernetesPlatform } from './platforms/kubernetes.ts'
import type { Run } from './run-program.ts'
import { runpodEndpoint } from './runpod.ts'
import { startFakeRunpod } from './testing/fake-runpod.ts'
import { aRelease } from './testing/fake-world.ts'

const one = aRelease('1.0.0')
const two = aRelease('1.1.0')
const overlay = (name: string) => resolve(import.meta.dirname, '../k8s/overlays', name)

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-programs-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Notes what is run, and answers as it is told. */
function recorder(answer: Run = async () => ({ exitCode: 0, stdout: '', stderr: '' })) {
  const lines: string[] = []
  const run: Run = async (command, options) => {
    lines.push(command.join(' '))
    return answer(command, options)
  }
  return { run, lines }
}

describe('compose', () => {
  const of = (workers: 'preview' | 'none') => ({
    ...{ file: '/app/docker-compose.yml', settings: join(folder, '.env'), backups: '/b', workers },
  })

  it('replaces one service after the other, and keeps what else stands in .env', async () => {
    await writeFile(join(folder, '.env'), 'DOMAIN=example.com\nSERVICES_IMAGE=old\n')
    const { run, lines } = recorder()
    const compose = composePlatform({ run, ...of('preview') })
    await compose.deployServices(two, one)
    expect(await readFile(join(folder, '.env'), 'utf8')).toBe(
      `DOMAIN=example.com\nSERVICES_IMAGE=${two.images.services}\n`,
    )
    await compose.deployWorkers(two)
    await compose.deployWorkers(two)
    expect(await readFile(join(folder, '.env'), 'utf8')).toBe(
      `DOMAIN=example.com\nSERVICES_IMAGE=${two.images.services}\nPREVIEW_IMAGE=${two.images.preview}\nGPU_IMAGE=${two.images.gpu}\n`,
    )
    const up = `docker compose -f /app/docker-compose.yml --env-file ${folder}/.env`
    const rest = 'up -d --wait --no-deps --no-build'
    expect(lines.slice(0, 6)).toEqual([
      `docker pull --quiet ${two.images.services}`,
      `${up} ${rest} orchestrator`,
      `${up} ${rest} janitor`,
      `${up} ${rest} ingest`,
      `docker pull --quiet ${two.images.preview}`,
      `${up} --profile preview ${rest} sidecar`,
    ])
  })

  it('runs the command line of the release it is told', async () => {
    let seen: Record<string, string> | undefined
    const { run, lines } = recorder(async (_command, options) => {
      seen = options?.env
      return { exitCode: 0, stdout: 'yes', stderr: '' }
    })
    const compose = composePlatform({ run, ...of('none') })
    await compose.useCommandLine(two)
    expect((await compose.avatar(['system', 'release'])).stdout).toBe('yes')
    expect(lines.at(-1)).toMatch(/run --rm -T -v \/b:\/backups cli system release$/)
    expect(seen).toEqual({ SERVICES_IMAGE: two.images.services })
  })

  it('says which command failed, and how', async () => {
    await writeFile(join(folder, '.env'), '')
    const { run } = recorder(async (command) => ({
      ...{ exitCode: command.includes('up') ? 14 : 0, stdout: '', stderr: 'unhealthy' },
    }))
    const compose = composePlatform({ run, ...of('none') })
    await expect(compose.deployServices(two, one)).rejects.toThrow(
      /orchestrator ended with 14: unhealthy/,
    )
  })
})

describe.skipIf(skipsWithout('kubectl'))('kubernetes', () => {
  /** `kubectl apply -k` renders; the rest is noted. */
  async function imagesAfter(
    act: (platform: ReturnType<typeof kubernetesPlatform>) => Promise<void>,
  ) {
    const rendered: string[] = []
    const { run, lines } = recorder(async (command) => {
      if (!command.includes('apply')) return { exitCode: 0, stdout: '', stderr: '' }
      const { isContent, output } = await runTool('kubectl', ['kustomize', command.at(-1) ?? ''])
      rendered.push(output)
      return { exitCode: isContent ? 0 : 1, stdout: '', stderr: output }
    })
    const platform = kubernetesPlatform({
      ...{ run, kubectl: ['kubectl', '--context', 'c'], workers: 'preview' },
      overlay: overlay('preview'),
    })
    await act(platform)
    const manifests = parseAllDocuments(rendered.at(-1) ?? '').map((each) => each.toJS())
    const images = new Map<string, string>(
      manifests
        .filter(({ spec }) => spec?.template)
        .map(({ metadata, spec }) => [metadata.name, spec.template.spec.containers[0].image]),
    )
    return { images, lines }
  }

  it('replaces the services and leaves the workers until it is their turn', async () => {
    const services = await imagesAfter((platform) => platform.deployServices(two, one))
    for (const name of ['ingest', 'orchestrator', 'janitor', 'operator', 'provision'])
      expect(services.images.get(name)).toBe(two.images.services)
    expect(services.images.get('sidecar')).toBe(one.images.preview)
    expect(services.images.get('nats')).toBe('nats:2.15.1-alpine')
    expect(services.lines[0]).toBe(
      'kubectl --context c -n avatar delete job provision --ignore-not-found',
    )
    expect(services.lines.filter((line) => line.includes('rollout status'))).toHaveLength(5)

    const workers = await imagesAfter((platform) => platform.deployWorkers(two))
    expect(workers.images.get('sidecar')).toBe(two.images.preview)
    expect(workers.lines.at(-1)).toContain('rollout status deploy/sidecar')
  }, 60_000)

  it('runs the command line in the pod that is there for it', async () => {
    const { lines } = await imagesAfter(async (platform) => {
      await platform.useCommandLine(two)
      await platform.avatar(['workers', 'list'])
    })
    expect(lines).toEqual([
      `kubectl --context c -n avatar set image deploy/operator operator=${two.images.services}`,
      'kubectl --context c -n avatar rollout status deploy/operator --timeout=600s',
      'kubectl --context c -n avatar exec deploy/operator -- avatar workers list',
    ])
  })
})

describe('runpod', () => {
  it('changes the image and nothing else, and asks again when it came too often', async () => {
    const fake = await startFakeRunpod('e1', one.images.gpu, 'key')
    const provider = runpodEndpoint({ endpointId: 'e1', apiKey: 'key', api: fake.api })
    expect(await provider.findImage()).toBe(one.images.gpu)
    fake.refusals.push({ status: 429, retryAfter: '0' }, { status: 503, retryAfter: '0' })
    await provider.setImage(two.images.gpu)
    expect(fake.log).toEqual([{ image: two.images.gpu }])
    expect(fake.endpoint).toMatchObject({ image: two.images.gpu, env: { NATS_PASSWORD: 'kept' } })

    const stranger = runpodEndpoint({ endpointId: 'e1', apiKey: 'guessed', api: fake.api })
    await expect(stranger.findImage()).rejects.toThrow(/answered GET with 401/)
    await fake.stop()
  })
})

describe('cosign', () => {
  it('asks for the identity and the issuer, and takes no for an answer', async () => {
    const { run, lines } = recorder()
    await cosignVerifier(run, '^https://github.com/us/').verify(one.images.gpu)
    expect(lines).toEqual([
      `cosign verify --certificate-identity-regexp ^https://github.com/us/ --certificate-oidc-issuer https://token.actions.githubusercontent.com ${one.images.gpu}`,
    ])
    const no = recorder(async () => ({ exitCode: 1, stdout: '', stderr: 'no signatures found' }))
    await expect(cosignVerifier(no.run, 'us').verify(one.images.gpu)).rejects.toThrow(
      /no signatures/,
    )
  })
})

it.each(['staging', 'production'])('the environment %s can be read', async (name) => {
  const file = join(import.meta.dirname, 'environments', `${name}.json`)
  expect(environmentSchema.parse(JSON.parse(await readFile(file, 'utf8'))).signedBy).not.toBeNull()
})
