import { monitoredServices, serviceNames } from '@avatar/contracts'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type System, startSystem, until } from '../harness/index.ts'

const traceId = '0af7651916cd43dd8448eb211c80319c'

let system: System
beforeAll(async () => {
  // The janitor deletes one second after the end.
  system = await startSystem({ env: { VIDEO_RETENTION_HOURS: String(1 / 3600) } })
})
afterAll(async () => {
  expect(await system.stop()).toEqual([])
})

it('one trace goes from the request to the deletion, through every service and back to the client', async () => {
  const answer = await system.client.submit({
    headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` },
  })
  expect(answer.headers.get('traceparent')).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-00$`))
  const view = await system.client.untilEnded(answer.jobId, 'completed')
  expect(view).toMatchObject({ trace_id: traceId })

  const linesOf = (service: string) =>
    system.lines.filter((line) => line.split(' ')[1] === service && line.includes(traceId))
  for (const service of serviceNames)
    await until(() => linesOf(service).length > 0, { what: `a line of ${service} in the trace` })
  await until(() => linesOf('orchestrator').some((line) => line.includes('evt.job.deleted')), {
    what: 'the deletion in the record',
  })

  const aboutTheJob = system.lines.filter((line) => line.includes(`jobId=${answer.jobId}`))
  expect(aboutTheJob.length).toBeGreaterThan(serviceNames.length)
  for (const line of aboutTheJob) {
    expect(line).toContain(`traceId=${traceId}`)
    expect(line).toMatch(/ attempt=\d+/)
  }
})

it('each service has metrics on its own port, whose names say what and in which unit', async () => {
  const { processes } = await system.stack()
  for (const service of monitoredServices) {
    const port = processes[service].ports['metrics']
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    const names = [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name ?? '')
    const ours = names.filter((name) => name !== 'target_info')
    expect(ours.length, service).toBeGreaterThan(0)
    for (const name of ours) expect(name).toMatch(/^infinitetalk(_[a-z]+)+$/)
    expect(text, 'labels are closed sets').not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}-/)
  }
})
