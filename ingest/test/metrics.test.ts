import { randomUUID } from 'node:crypto'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { wav } from './media-fixtures.ts'
import { portrait, useRestWorld, voice } from './rest-world.ts'

const world = useRestWorld()

/** The value of a series, with its labels in the order of the catalogue; undefined without one. */
async function readValue(series: string): Promise<number | undefined> {
  const line = (await world.metrics.scrape())
    .split('\n')
    .find((each) => each.startsWith(`infinitetalk_${series} `))
  return line === undefined ? undefined : Number(line.split(' ').at(-1))
}
const refused = (labels: string) => readValue(`submissions_refused_total{${labels}}`)
const timed = (labels: string) => readValue(`http_request_duration_seconds_count{${labels}}`)

describe('requests', () => {
  it('are counted by route, method and status, and by owner once the key is known', async () => {
    const { owner, headers } = await world.createKey()
    await world.call('/jobs', { headers })
    await world.call('/jobs', { headers })
    await world.call('/jobs', { headers: { authorization: 'Bearer wrong' } })
    await world.call(`/nowhere/${randomUUID()}`)
    await until(async () => (await timed('route="/jobs",method="GET",status="401"')) === 1)
    expect(await timed('route="/jobs",method="GET",status="200"')).toBe(2)
    expect(await timed('route="unknown",method="GET",status="404"')).toBe(1)
    expect(await readValue(`owner_requests_total{owner="${owner}"}`)).toBe(2)
  })

  it('that are event streams are counted while they are open, and not timed', async () => {
    const { jobId } = await world.putJob({ state: 'rendering', epoch: 1 })
    const abort = new AbortController()
    const stream = await fetch(`${world.url}/events/${jobId}`, {
      headers: world.mine.headers,
      signal: abort.signal,
    })
    expect(stream.status).toBe(200)
    expect(await readValue('event_streams')).toBe(1)
    abort.abort()
    await until(async () => (await readValue('event_streams')) === 0)
    const refusal = await world.call(`/events/${randomUUID()}`)
    expect(refusal.status).toBe(404)
    await until(
      async () => (await timed('route="/events/:job_id",method="GET",status="404"')) === 1,
    )
    expect(await timed('route="/events/:job_id",method="GET",status="200"')).toBeUndefined()
  })
})

describe('refused submissions', () => {
  it('are counted by code and blame, beginning with 0', async () => {
    expect(await refused('door="rest",code="AUDIO_EMPTY",blame="caller"')).toBe(0)
    expect(await refused('door="event",code="STORE_UNAVAILABLE",blame="dependency"')).toBe(0)
    const silence = wav({ seconds: 1, amplitude: 0 })
    expect((await world.generate({ audio: silence })).status).toBe(400)
    expect((await world.generate({}, { authorization: 'Bearer wrong' })).status).toBe(401)
    expect((await world.generate()).status).toBe(201)
    await until(async () => (await readValue('jobs_accepted_total{door="rest"}')) === 1)
    expect(await refused('door="rest",code="AUDIO_EMPTY",blame="caller"')).toBe(1)
    expect(await refused('door="rest",code="UNAUTHORIZED",blame="caller"')).toBe(1)
  })

  it('are counted through the door of events too, where those that only wait are none', async () => {
    const acme = await world.connectAs('acme')
    await world.putObject('intake/acme/face.jpg', portrait)
    await world.putObject('intake/acme/voice.wav', voice)
    const event = { image_key: 'intake/acme/face.jpg', audio_key: 'intake/other/voice.wav' }
    await acme.publish('intake.acme.job.submitted', event)
    const code = 'FOREIGN_OBJECT'
    await until(async () => (await refused(`door="event",code="${code}",blame="caller"`)) === 1)
    await until(
      async () =>
        (await readValue(`dead_letters_total{consumer="ingest",code="${code}",blame="caller"}`)) ===
        1,
    )
  })
})

it('the free part of the spool is told', async () => {
  expect(await readValue('disk_free_ratio{volume="spool"}')).toBeGreaterThan(0)
  expect(await readValue('disk_free_ratio{volume="spool"}')).toBeLessThanOrEqual(1)
})
