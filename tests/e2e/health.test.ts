import { metricName, serviceNames, monitoredServices as services } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type System, scrape, startSystem, suspend, until } from '../harness/index.ts'

const noticedWithinMs = 10_000
const readyAgainWithinMs = 5_000

describe('the health of every service', () => {
  let system: System
  beforeAll(async () => {
    system = await startSystem()
  })
  afterAll(async () => {
    expect(await system.stop()).toEqual([])
  })

  /** The status of a path on the metrics port of each service. */
  async function statuses(path: string): Promise<number[]> {
    const { processes } = await system.stack()
    const ports = services.map((name) => processes[name].ports['metrics'])
    const answers = ports.map((port) => fetch(`http://127.0.0.1:${port}${path}`))
    return (await Promise.all(answers)).map(({ status }) => status)
  }
  const become = (status: number, timeoutMs: number) =>
    until(
      async () => {
        expect(await statuses('/livez'), 'alive throughout').toEqual(everywhere(200))
        return (await statuses('/readyz')).every((one) => one === status)
      },
      { timeoutMs, what: `${status} from /readyz of every service` },
    )
  const servicePids = () => Promise.all(serviceNames.map((name) => system.pidOf(name)))
  const everywhere = (status: number) => services.map(() => status)

  it.each([
    ['broker', 'nats', 'nats'],
    ['store', 's3', 'store'],
  ] as const)(
    'a frozen %s makes it unready but not dead, and it recovers by itself',
    async (_, server, name) => {
      const pids = await servicePids()
      await become(200, readyAgainWithinMs)
      await suspend([await system.pidOf(server)], async () => {
        await become(503, noticedWithinMs)
        const { series } = await scrape(system, 'janitor')
        const told = series.filter(({ name }) => name === metricName('dependency_up'))
        const up = told.map(({ labels, value }) => [labels['dependency'], value])
        expect(Object.fromEntries(up), 'as /readyz has it').toEqual({
          nats: 1,
          store: 1,
          [name]: 0,
        })
        expect(await statuses('/healthz'), 'the old name of /readyz').toEqual(everywhere(503))
      })
      await become(200, readyAgainWithinMs)
      expect(await servicePids(), 'nothing was restarted').toEqual(pids)
      const { jobId } = await system.client.submit()
      await system.client.untilEnded(jobId, 'completed')
    },
  )
})
