import { recordOf, serviceNames, serviceUsers } from '@avatar/contracts'
import { describe, expect, it } from 'vitest'
import { dataFolder } from './data-folder.ts'
import type { Ports } from './ports.ts'
import { serviceEnvironment, variablesSetByUp, type Wiring } from './settings.ts'

const wiring = (env: Wiring['env']): Wiring => ({
  data: dataFolder('/data'),
  credentials: {
    nats: recordOf(serviceUsers, (user) => `secret-${user}`),
    natsReload: 'secret-reload',
    natsRoutes: 'secret-routes',
    s3: { accessKeyId: 'access', secretAccessKey: 'secret' },
    publishers: {},
    poolUsers: [],
  },
  ports: { nats: 1, s3: 2, http: 3, ingestMetrics: 4 } as Ports, // Those that are looked at.
  env,
  ffmpeg: '/ffmpeg',
})

describe('the environment of a service', () => {
  it('has what the stack sets, which the documentation can list', () => {
    for (const name of serviceNames) {
      const { always, unlessGiven } = variablesSetByUp(name)
      const env = serviceEnvironment(name, wiring({}))
      expect(Object.keys(env).toSorted()).toEqual([...always, ...unlessGiven].toSorted())
      expect(env).toMatchObject({ NATS_USER: name, NATS_PASSWORD: `secret-${name}` })
    }
    expect(serviceEnvironment('ingest', wiring({}))).toMatchObject({
      NATS_URL: 'nats://127.0.0.1:1',
      S3_ENDPOINT: 'http://127.0.0.1:2',
      HTTP_PORT: '3',
      METRICS_PORT: '4',
      SPOOL_DIR: '/data/spool/ingest',
    })
  })

  it('has keys of the store only where the table says so', () => {
    const withKeys = serviceNames.filter((name) =>
      variablesSetByUp(name).always.includes('R2_SECRET_ACCESS_KEY'),
    )
    expect(withKeys).toEqual(['ingest', 'orchestrator', 'janitor'])
  })

  it('keeps what the caller gives, unless the stack decides it', () => {
    const env = { ENGINE: 'null', NATS_URL: 'nats://elsewhere', LOG_LEVEL: 'debug', WORKER_ID: '' }
    expect(serviceEnvironment('sidecar', wiring(env))).toMatchObject({
      ENGINE: 'null',
      NATS_URL: 'nats://127.0.0.1:1',
      LOG_LEVEL: 'debug',
      WORKER_ID: 'local',
    })
  })

  it('takes the workers of this machine for local, whatever their pool is', () => {
    const poolsWith = (env: Wiring['env']) =>
      serviceEnvironment('orchestrator', wiring(env))['LOCAL_POOLS']
    expect(poolsWith({})).toBe('local')
    expect(poolsWith({ WORKER_POOL: 'l40s' })).toBe('l40s')
    expect(poolsWith({ WORKER_POOL: 'l40s', LOCAL_POOLS: 'l40s,rack' })).toBe('l40s,rack')
  })

  it('has one of NAME and NAME_FILE: the stack replaces the caller’s, and the service’s own wins', () => {
    const env = { NATS_PASSWORD_FILE: '/a', JANITOR_NATS_PASSWORD_FILE: '/b' }
    expect(serviceEnvironment('ingest', wiring(env))).not.toHaveProperty('NATS_PASSWORD_FILE')
    const own = serviceEnvironment('janitor', wiring(env))
    expect(own).toHaveProperty('NATS_PASSWORD_FILE', '/b')
    expect(own).not.toHaveProperty('NATS_PASSWORD')
  })
})
