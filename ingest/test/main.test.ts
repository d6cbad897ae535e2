import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { provisionBroker } from '@avatar/backing-services'
import { createTestNats, createTestS3, freePorts } from '@avatar/backing-services/testing'
import { scaledTimings } from '@avatar/contracts'
import { runMain, until } from '@avatar/service-kit/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ingestEnvironment } from './rest-world.ts'

const nats = await createTestNats()
const s3 = await createTestS3()
let spoolDir: string

beforeAll(async () => {
  spoolDir = await mkdtemp(join(tmpdir(), 'avatar-main-'))
  await Promise.all([nats.start(), s3.start()])
  await provisionBroker(nats.operator, scaledTimings(1))
})

afterAll(async () => {
  await Promise.all([nats.stop(), s3.stop()])
  await rm(spoolDir, { recursive: true, force: true })
})

it('runs from its environment alone, answers, and stops in order at a signal', async () => {
  const [http = 0, metrics = 0] = await freePorts(2)
  const main = runMain(() => import('../src/main.ts'), {
    ...ingestEnvironment(nats, s3, spoolDir),
    HTTP_PORT: String(http),
    METRICS_PORT: String(metrics),
    ALLOWED_ORIGINS: 'https://a.example, https://b.example,',
    API_DOCS: 'false',
    WEB_PAGE: 'false',
    LOG_LEVEL: 'silent',
  })
  const health = () => fetch(`http://127.0.0.1:${http}/health`).catch(() => undefined)
  await until(async () => (await health())?.status === 200)
  const origins = ['https://a.example', 'https://b.example', 'https://c.example']
  const allowed = await Promise.all(
    origins.map(async (origin) => {
      const answer = await fetch(`http://127.0.0.1:${http}/health`, { headers: { origin } })
      return answer.headers.get('access-control-allow-origin')
    }),
  )
  expect(allowed).toEqual(['https://a.example', 'https://b.example', null])
  for (const path of ['docs', ''])
    expect((await fetch(`http://127.0.0.1:${http}/${path}`)).status).toBe(404)
  const scraped = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text()
  expect(scraped).toContain('infinitetalk_http_request_duration_seconds')

  expect(await main.stop()).toBe(0)
  expect(await health()).toBeUndefined()
  expect(await readdir(join(spoolDir, 'uploads'))).toEqual([])
  expect(await readdir(join(spoolDir, 'checks'))).toEqual([])
})
