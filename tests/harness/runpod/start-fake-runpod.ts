import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { createControlApi } from './control-api.ts'
import { type Endpoint, newEndpoint, type Release } from './endpoint.ts'
import { createJobQueue } from './job-queue.ts'
import { createRingTroubles, type TroubleOptions } from './ring-trouble.ts'
import { createRunPodServer } from './runpod-server.ts'
import { createWorkerFleet, type FleetOptions } from './worker-fleet.ts'

export type FakeRunPodOptions = Partial<Omit<FleetOptions, 'command'>> & {
  /** What a worker runs: the command of the endpoint's image. */
  command: readonly [string, ...string[]]
  port?: number
  endpointId?: string
  apiKey?: string
  /** `workers.max` of the endpoint. */
  max?: number
  /** The endpoint's environment. `{{ RUNPOD_SECRET_x }}` stands for a secret, `$RUNPOD_POD_ID` for the worker. */
  env?: Record<string, string>
  secrets?: Record<string, string>
  /** The surroundings of every worker, which no API shows: its image. */
  imageEnv?: Record<string, string>
  trouble?: TroubleOptions
  /** Makes the times in jobs' policies so many times shorter. */
  timesDivisor?: number
  /** Requests to the management API per minute. */
  perMinute?: number
  /** The price of a worker, for the bill. */
  dollarsPerSecond?: number
  /** How long a poll of the worker's API stays open. */
  pollMs?: number
  lateMs?: number
}

export type FakeRunPod = Awaited<ReturnType<typeof startFakeRunPod>>

const lookEveryMs = 100

/**
 * RunPod as far as we use it, on loopback: the management API (v2), the job API and the API that its worker
 * loop polls. It starts what its endpoint names as real processes, and misbehaves on demand.
 *
 * What is known of the original comes from its OpenAPI document, its documentation and the sources of its
 * worker loop 1.12.0; what it does beside that is not known, and not shown here.
 */
export async function startFakeRunPod(options: FakeRunPodOptions) {
  const { command, max = 5, secrets = {}, imageEnv = {}, pollMs = 20_000 } = options
  const endpointId = options.endpointId ?? 'fakeendpoint'
  const apiKey = options.apiKey ?? `rpa_${randomBytes(16).toString('hex')}`
  const workerKey = randomBytes(16).toString('hex')
  const state = {
    endpoint: newEndpoint(endpointId, options.env ?? {}, max),
    releases: [] as Release[],
    isThrottled: false,
    /** Polls of workers that wait for a job or for a stop signal. */
    polls: new Set<{ workerId: string; wake: () => void }>(),
    stops: new Map<string, string[]>(),
  }
  const version = () => state.releases.length + 1
  const troubles = createRingTroubles(options.trouble ?? { seed: 1, share: 0 })
  let origin = ''

  const jobs = createJobQueue(options.timesDivisor ?? 1, wakeAll, (workerId, jobId) => {
    state.stops.set(workerId, [...(state.stops.get(workerId) ?? []), jobId])
    wakeAll()
  })
  const fleet = createWorkerFleet(
    {
      command,
      cwd: options.cwd ?? process.cwd(),
      idleMs: options.idleMs ?? 2_000,
      graceMs: options.graceMs ?? 30_000,
      startMs: options.startMs ?? 0,
      onLine: options.onLine ?? (() => {}),
    },
    environmentOf,
    // Whether a job of a dead worker is given to another one is not known: so both happen.
    (workerId) => jobs.abandon(workerId, () => troubles.chance(2)),
  )

  function wakeAll() {
    for (const poll of state.polls) poll.wake()
  }

  function environmentOf(workerId: string): Record<string, string> {
    const base = `${origin}/v2/${endpointId}`
    const own = Object.entries({ ...imageEnv, ...state.endpoint.env }).map(([name, value]) => [
      name,
      value
        .replaceAll('$RUNPOD_POD_ID', workerId)
        .replace(/\{\{ RUNPOD_SECRET_(\w+) \}\}/g, (_, secret: string) => secrets[secret] ?? ''),
    ])
    return {
      ...(Object.fromEntries(own) as Record<string, string>), // Object.fromEntries loses the type.
      RUNPOD_POD_ID: workerId,
      RUNPOD_ENDPOINT_ID: endpointId,
      RUNPOD_AI_API_KEY: workerKey,
      RUNPOD_WEBHOOK_GET_JOB: `${base}/job-take/$ID?gpu=fake`,
      RUNPOD_WEBHOOK_POST_OUTPUT: `${base}/job-done/$RUNPOD_POD_ID/$ID?gpu=fake`,
      RUNPOD_WEBHOOK_POST_STREAM: `${base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=fake`,
      RUNPOD_WEBHOOK_PING: `${base}/ping/$RUNPOD_POD_ID?gpu=fake`,
    }
  }

  const isBusy = (workerId: string) =>
    jobs.all().some((job) => job.status === 'IN_PROGRESS' && job.workerId === workerId)

  function look() {
    const { min, max } = state.endpoint.workers
    const perWorker =
      'requestCount' in state.endpoint.scaling ? state.endpoint.scaling.requestCount : 1
    const wanted = Math.min(max, Math.max(min, Math.ceil(jobs.active() / perWorker)))
    const { image } = state.endpoint
    fleet.setSize(wanted, { version: version(), image, isThrottled: state.isThrottled }, isBusy)
    // A worker that is to end gets no job any more, and its polls end.
    if (fleet.all().some(({ isStopping }) => isStopping)) wakeAll()
  }
  const looking = setInterval(look, lookEveryMs)

  const parts = { ...{ state, jobs, fleet, troubles, version, isBusy, pollMs }, apiKey, workerKey }
  const control = createControlApi(parts)
  const server = createRunPodServer({
    ...parts,
    perMinute: options.perMinute ?? 60,
    dollarsPerSecond: options.dollarsPerSecond ?? 0.00053,
    lateMs: options.lateMs ?? 5_000,
    control,
  })
  await new Promise<void>((done) => server.listen(options.port ?? 0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo // It listens on a port.
  origin = `http://127.0.0.1:${port}`

  return {
    url: origin,
    endpointId,
    apiKey,
    control,
    troubles,
    jobs,
    fleet,
    endpoint: (): Endpoint => state.endpoint,
    async stop() {
      clearInterval(looking)
      const ending = fleet.stopAll()
      wakeAll()
      await ending
      jobs.stop()
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
}
