import { type Beat, consumers, streams } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import { describe, expect, it } from 'vitest'
import { inOneWorld, type Orchestrator, type World } from './world.ts'

let world: World
let orchestrator: Orchestrator
inOneWorld((opened) => {
  world = opened.world
  orchestrator = opened.orchestrator
})

/** The series that are told now, by name and labels. */
async function series(): Promise<Map<string, number>> {
  const lines = (await orchestrator.metrics.scrape()).split('\n')
  const samples = lines.filter((line) => line.startsWith('infinitetalk_'))
  return new Map(
    samples.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice('infinitetalk_'.length, at), Number(line.slice(at))]
    }),
  )
}
const ofWorker = async (worker: string) =>
  [...(await series())].filter(([name]) => name.includes(`worker="${worker}"`))

const gpu = {
  ...{ index: 0, name: 'NVIDIA L40S', uuid: 'GPU-1', utilization: 0.5, isThrottled: false },
  ...{ memoryUsedBytes: 1, memoryTotalBytes: 2, temperatureCelsius: 60, powerWatts: 300 },
}
const loaded: Partial<Beat> = {
  ...{ state: 'ready', gpus: [gpu], diskFree: 0.25 },
  engineFacts: {
    ...{ device: 'NVIDIA L40S', precision: 'fp8', attentionBackend: 'none' },
    ...{ peakMemoryBytes: 0, details: {} },
  },
  startup: [
    { stage: 'engine', seconds: 3 },
    { stage: 'total', seconds: 5 },
  ],
}

describe('a worker', () => {
  it('has its series while it lives, and none once it says that it goes', async () => {
    const worker = await world.createWorker('seen', 'i1')
    const starts = async () =>
      (await series()).get('worker_start_seconds_count{stage="total"}') ?? 0
    const before = await starts()
    worker.sendsHeartbeat([], { state: 'loading', starting: { stage: 'weights', seconds: 2 } })
    await until(async () => {
      const told = new Map(await ofWorker('seen'))
      return Number(told.get('worker_loading_seconds{worker="seen",stage="weights"}')) >= 2
    })
    // A heartbeat now and then, as a worker sends it: others may find it silent otherwise.
    const says = (difference: Partial<Beat>) =>
      until(async () => {
        worker.sendsHeartbeat([], difference)
        return (await ofWorker('seen')).length > 5
      })
    await says(loaded)
    const told = new Map(await ofWorker('seen'))
    const name = 'worker="seen",gpu="0"'
    expect(told.get(`gpu_utilization_ratio{${name}}`)).toBe(0.5)
    expect(told.get(`gpu_memory_used_bytes{${name}}`)).toBe(1)
    expect(told.get(`gpu_memory_total_bytes{${name}}`)).toBe(2)
    expect(told.get(`gpu_temperature_celsius{${name}}`)).toBe(60)
    expect(told.get(`gpu_power_watts{${name}}`)).toBe(300)
    expect(told.get(`gpu_throttled{${name}}`)).toBe(0)
    expect(told.get('disk_free_ratio{volume="spool",worker="seen"}')).toBe(0.25)
    expect(told.get('worker_pace_ratio{worker="seen"}')).toBe(1)
    const labels = 'worker="seen",engine="null",device="NVIDIA L40S",precision="fp8"'
    expect(told.get(`worker_info{${labels}}`)).toBe(1)
    expect(await starts()).toBe(before + 1)
    worker.sendsHeartbeat([], { state: 'gone' })
    await until(async () => (await ofWorker('seen')).length === 0, { what: 'no series' })
  })

  it('that falls silent loses its series by itself, and all states are told, zeros too', async () => {
    const worker = await world.createWorker('silent', 'i1')
    worker.sendsHeartbeat([], loaded)
    await until(async () => (await ofWorker('silent')).length > 0)
    await until(async () => (await ofWorker('silent')).length === 0, { what: 'no series' })
    const all = await series()
    for (const state of ['loading', 'ready', 'rendering', 'draining'])
      expect(all.get(`workers{state="${state}"}`), state).toBe(0)
  })

  it('that renders tells since when its progress stands still', async () => {
    const { worker, job } = await world.rendering()
    const stalled = 'render_stalled_seconds{worker="w1"}'
    const stalledSeconds = async (percent: number) => {
      worker.sendsHeartbeat([{ job, epoch: 1, percent }])
      return Number((await series()).get(stalled))
    }
    const stands = async () => {
      const seconds = await stalledSeconds(10)
      return seconds > 1 && seconds
    }
    const stoodSeconds = await until(stands, { what: 'a render that stands still' })
    let percent = 10
    const moves = async () => {
      percent += 0.01
      return (await stalledSeconds(percent)) < stoodSeconds
    }
    await until(moves, { what: 'a render that moves' })
    await world.cancel(job)
    await worker.reports('cancelled', job, 1)
  })
})

/** Until a job's wait is told; its worker may hear of the claim before it is measured. */
const waitedAt = (start: 'cold' | 'warm') => {
  const name = `queue_wait_seconds_count{start="${start}"}`
  return until(async () => Number((await series()).get(name)) > 0, { what: name })
}

describe('jobs', () => {
  it('are told by state, zeros too, and how long the oldest has waited', async () => {
    // Not even the job of the test before, which waits again where its worker was found silent.
    world.letOnly('')
    const isCold = async () => {
      const all = await series()
      return ['ready', 'rendering'].every((state) => all.get(`workers{state="${state}"}`) === 0)
    }
    await until(isCold, { what: 'a system without a worker' })
    // One that falls silent is noticed a little later than it is left out; one that says so, at once.
    const last = await world.createWorker('last', 'i1')
    last.sendsHeartbeat([], { state: 'ready' })
    await until(async () => !(await isCold()), { what: 'a worker' })
    last.sendsHeartbeat([], { state: 'gone' })
    await until(isCold, { what: 'its end' })
    const job = await world.queued()
    const told = await until(async () => {
      const all = await series()
      return Number(all.get('jobs{state="queued"}')) >= 1 && all
    })
    expect(told.get('jobs{state="cancelling"}')).toBe(0)
    expect(told.has('jobs{state="completed"}')).toBe(false)
    // Only a job that may start waits for us, and the world lets nobody's job start.
    expect(told.get('queue_oldest_seconds')).toBe(0)
    const worker = await world.createWorker('w9', 'i1')
    await worker.takes(job)
    await waitedAt('cold')
  })

  it('that waited for a worker found a warm system if one was ready by then', async () => {
    const worker = await world.createWorker('warm', 'i1')
    worker.sendsHeartbeat([], { state: 'ready' })
    await until(async () => Number((await series()).get('workers{state="ready"}')) > 0)
    const job = await world.queued()
    await worker.takes(job)
    await waitedAt('warm')
  })
})

describe('the broker', () => {
  it('tells its streams and their readers', async () => {
    const all = await until(async () => {
      const told = await series()
      return told.has('stream_messages{stream="EVENTS"}') && told
    })
    for (const stream of Object.keys(streams))
      for (const name of ['stream_messages', 'stream_bytes', 'stream_last_sequence'])
        expect(all.has(`${name}{stream="${stream}"}`), `${name} of ${stream}`).toBe(true)
    for (const { name: consumer } of Object.values(consumers(world.timings)))
      for (const name of ['consumer_pending', 'consumer_ack_pending', 'consumer_redelivered'])
        expect(all.has(`${name}{consumer="${consumer}"}`), `${name} of ${consumer}`).toBe(true)
  })
})
