import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { composeProject, hasCompose } from './compose-project.ts'

type Service = {
  image: string
  read_only?: boolean
  cap_drop?: string[]
  security_opt?: string[]
  pids_limit?: number
  mem_limit?: string
  logging?: { options?: Record<string, string> }
  environment?: Record<string, string>
  networks?: Record<string, unknown>
  ports?: { host_ip?: string; published: string }[]
}
type Project = {
  services: Record<string, Service>
  networks: Record<string, { internal?: boolean }>
}

const profiles = ['preview', 'gpu', 'weights', 'edge', 'tools', 'observability']
const withR2 = {
  R2_ACCOUNT_ID: '0123456789abcdef0123456789abcdef',
  R2_BUCKET_NAME: 'films',
  R2_ACCESS_KEY_ID: 'ours',
}

const variants = [
  { name: 'no profile', args: [], files: [], env: {} },
  ...profiles.map((name) => ({ name, args: ['--profile', name], files: [], env: {} })),
  {
    name: 'r2.yml',
    args: ['--profile', 'preview'],
    files: ['docker-compose.yml', 'deploy/compose/r2.yml'],
    env: withR2,
  },
  {
    name: 'runpod.yml',
    args: ['--profile', 'edge'],
    files: ['docker-compose.yml', 'deploy/compose/runpod.yml'],
    env: { RUNPOD_ENDPOINT_ID: 'abc123' },
  },
]

const variantOf = (name: string) =>
  rendered(variants.find((variant) => variant.name === name) ?? (variants[0] as never))

const rendered = async ({ args, files, env }: (typeof variants)[number]) => {
  const project = composeProject('avatar-config', env)
  const { stdout, stderr } = await project.call([...args, 'config', '--format', 'json'], files)
  expect(stderr).toBe('')
  return JSON.parse(stdout) as Project
}

/** The settings of all services, as `npm run generate` lists them. */
const settings = new Set(
  [
    ...readFileSync(join(import.meta.dirname, '../../.env.example'), 'utf8').matchAll(
      /^(?:# )?([A-Z][A-Z0-9_]+)=/gm,
    ),
  ].map(([, name]) => name),
)
/** Read by the command line alone. */
const ofTheCommandLine = ['AVATAR_URL', 'AVATAR_API_KEY']
const ours = /^(avatar-api|avatar-sidecar):/

describe.skipIf(!hasCompose)('the compose files', () => {
  it.each(variants)('render with $name, every container within its limits', async (variant) => {
    const { services } = await rendered(variant)
    expect(Object.keys(services).length).toBeGreaterThan(5)
    for (const [name, its] of Object.entries(services)) {
      expect(its, name).toMatchObject({
        read_only: true,
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
        pids_limit: expect.any(Number),
        mem_limit: expect.any(String),
        logging: { options: { 'max-size': '10m', 'max-file': '3' } },
      })
      if (name !== 'caddy')
        for (const port of its.ports ?? []) expect(port.host_ip, name).toBe('127.0.0.1')
    }
  })

  it.each(variants)('say to our services only what these know, with $name', async (variant) => {
    const { services } = await rendered(variant)
    for (const [name, { image, environment = {} }] of Object.entries(services)) {
      if (!ours.test(image)) continue
      const unknown = Object.keys(environment).filter(
        (setting) =>
          !settings.has(setting.replace(/_FILE$/, '')) && !ofTheCommandLine.includes(setting),
      )
      expect(unknown, name).toEqual([])
    }
  })

  it('give no worker a way out, and no store where R2 is', async () => {
    const [local, remote] = await Promise.all(['preview', 'r2.yml'].map(variantOf))
    const networksOf = (project: Project | undefined) =>
      Object.keys(project?.services['sidecar']?.networks ?? {})
    expect(networksOf(local)).toEqual(['workers'])
    expect(local?.networks['workers']?.internal).toBe(true)
    expect(remote?.services).not.toHaveProperty('s3')
    expect(remote?.services['ingest']?.environment).toMatchObject({
      ...withR2,
      S3_ENDPOINT: '',
      S3_PUBLIC_ENDPOINT: '',
      R2_SECRET_ACCESS_KEY_FILE: '/run/secrets/r2_secret_access_key',
    })
    expect(networksOf(remote)).toContain('out')
  })

  it('let the orchestrator out only where it rings a provider', async () => {
    const [local, ringing] = await Promise.all(['edge', 'runpod.yml'].map(variantOf))
    const networksOf = (project: Project | undefined) =>
      Object.keys(project?.services['orchestrator']?.networks ?? {})
    expect(networksOf(local)).not.toContain('out')
    expect(networksOf(ringing)).toContain('out')
    expect(ringing?.services['orchestrator']?.environment).toMatchObject({
      SCALE_PROVIDER: 'runpod',
      SCALE_POOL: 'runpod',
      RUNPOD_API_KEY_FILE: '/run/secrets/runpod_api_key',
    })
    for (const other of ['ingest', 'janitor'])
      expect(ringing?.services[other]?.environment).not.toHaveProperty('RUNPOD_API_KEY_FILE')
  })
})
