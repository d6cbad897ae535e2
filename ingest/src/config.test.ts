import { loadConfig } from '@avatar/service-kit'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { ingestConfigSchema } from './config.ts'

const { ALLOWED_ORIGINS, PUBLIC_PATH_PREFIX, TRUSTED_PROXIES } = ingestConfigSchema.shape
const parse = (env: Record<string, string>) =>
  loadConfig(z.object({ ALLOWED_ORIGINS, PUBLIC_PATH_PREFIX, TRUSTED_PROXIES }), env)

describe('ALLOWED_ORIGINS', () => {
  it('takes origins as browsers send them', () => {
    const list = 'https://app.example, http://localhost:3000,,capacitor://localhost'
    const { ALLOWED_ORIGINS } = parse({ ALLOWED_ORIGINS: list })
    expect(ALLOWED_ORIGINS).toHaveLength(3)
  })

  it.each([
    ...['*', 'null', 'app.example', 'https://*.example', 'https://App.example'],
    ...['https://app.example/', 'https://app.example/page', 'https://a.example https://b.example'],
  ])('refuses %s, which would never match', (origin) => {
    expect(() => parse({ ALLOWED_ORIGINS: origin })).toThrow(/ALLOWED_ORIGINS/)
  })
})

describe('PUBLIC_PATH_PREFIX', () => {
  it.each(['avatar', '/', '/avatar/', '//avatar', '/a b', '/..', '/a/./b'])(
    'refuses %s',
    (prefix) => {
      expect(() => parse({ PUBLIC_PATH_PREFIX: prefix })).toThrow(/PUBLIC_PATH_PREFIX/)
    },
  )
})

describe('TRUSTED_PROXIES', () => {
  it('takes networks and addresses of both families', () => {
    const list = '10.0.0.0/8, 192.0.2.7,fd00::/8,::1'
    const { TRUSTED_PROXIES } = parse({ TRUSTED_PROXIES: list })
    expect(TRUSTED_PROXIES).toEqual(['10.0.0.0/8', '192.0.2.7', 'fd00::/8', '::1'])
    expect(parse({}).TRUSTED_PROXIES).toEqual([])
  })

  it.each(['1', 'true', 'proxy.example', '10.0.0.0/33', '0.0.0.0/0', '::/0', '10.0.0.0-10.0.0.9'])(
    'refuses %s: whoever is trusted says where a request comes from',
    (list) => {
      expect(() => parse({ TRUSTED_PROXIES: list })).toThrow(/TRUSTED_PROXIES/)
    },
  )
})
