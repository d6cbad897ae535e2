import { spawnSync } from 'node:child_process'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { freePort } from '../free-port.ts'
import type { System } from '../system.ts'
import { type FakeRunPodOptions, startFakeRunPod } from './start-fake-runpod.ts'

const python = resolve(import.meta.dirname, '../../../.venv/bin/python')
const endpointId = 'fakeendpoint'
const apiKey = 'rpa_0123456789abcdefghij'
/** The pool, and with it the name of the workers' user. */
export const runPodPool = 'runpod'

/** Whether RunPod's own worker loop is installed. In CI it must be. */
export function hasRunPodSdk(): boolean {
  const { status } = spawnSync(python, [
    '-c',
    'import importlib.util as u, sys; sys.exit(u.find_spec("runpod") is None)',
  ])
  if (status !== 0 && process.env['CI'])
    throw new Error('The worker loop of RunPod is missing: npm run setup -- --with runpod')
  return status === 0
}

/**
 * Settings for a system whose workers RunPod runs. Its own worker finds no broker: so there is no other.
 *
 * @param port where the fake will listen
 */
export function runPodSettings(port: number): Record<string, string> {
  return {
    SIDECAR_NATS_URL: 'nats://127.0.0.1:1',
    SCALE_PROVIDER: 'runpod',
    SCALE_POOL: runPodPool,
    RUNPOD_ENDPOINT_ID: endpointId,
    RUNPOD_API_KEY: apiKey,
    RUNPOD_API_URL: `http://127.0.0.1:${port}/v2`,
    RUNPOD_JOB_API_URL: `http://127.0.0.1:${port}/v2`,
    // A Python process takes as long to start when the waits are short.
    ORCHESTRATOR_TIMINGS_DIVISOR: '4',
  }
}

/** A free port for the fake, which the system has to know before it starts. */
export const portForRunPod = freePort

const poolSchema = z.object({ nats: z.object({ user: z.string(), password: z.string() }) })

/**
 * The fake, whose workers run RunPod's own loop and our sidecar with the `null` engine, as the user of a pool
 * that is added to the running system.
 *
 * @param options what differs; `imageEnv` adds to the workers' surroundings
 */
export async function startRunPodWorkers(
  system: System,
  port: number,
  options: Omit<Partial<FakeRunPodOptions>, 'command'> = {},
) {
  const { stdout } = await system.cli('workers', 'pool', 'add', runPodPool, '--json')
  const { user, password } = poolSchema.parse(JSON.parse(stdout)).nats
  const { hostname, port: natsPort } = new URL((await system.stack()).nats.url)
  const given = process.env
  return startFakeRunPod({
    command: [python, '-m', 'inference_sidecar.runpod_worker'],
    port,
    endpointId,
    apiKey,
    pollMs: 5_000,
    perMinute: 1_000,
    ...options,
    env: {
      NATS_URL: `nats://${hostname}:${natsPort}`,
      NATS_USER: user,
      NATS_PASSWORD: '{{ RUNPOD_SECRET_NATS_PASSWORD }}',
      WORKER_POOL: runPodPool,
      ENGINE: 'null',
      ...options.env,
    },
    secrets: { NATS_PASSWORD: password },
    imageEnv: {
      ...Object.fromEntries(
        ['PATH', 'HOME', 'LANG', 'FFMPEG_PATH'].flatMap((name) =>
          given[name] === undefined ? [] : [[name, given[name]]],
        ),
      ),
      PYTHONUNBUFFERED: '1',
      TIMINGS_DIVISOR: '10',
      WORKER_ID: '$RUNPOD_POD_ID',
      SPOOL_DIR: join(system.dataDir, 'runpod', '$RUNPOD_POD_ID'),
      // By which a test finds what a system has left behind.
      AVATAR_DATA_DIR: system.dataDir,
      // They want a name server of the internet, and a tenth of the disk.
      RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: 'true',
      RUNPOD_PING_INTERVAL: '2000',
      ...options.imageEnv,
    },
  })
}

export type RunPodWorkers = Awaited<ReturnType<typeof startRunPodWorkers>>

/**
 * Follows the heartbeats of the workers at RunPod.
 *
 * @returns the most that were past hello at once, and what their last words said
 */
export async function watchRunPodWorkers(system: System, fake: RunPodWorkers) {
  const alive = new Set<string>()
  const seen = new Set<string>()
  const counts: { jobs: number }[] = []
  let most = 0
  const broker = await system.broker()
  const subscription = broker.connection.subscribe('beat.*', {
    callback: (_, message) => {
      const beat = beatSchema.parse(message.json())
      if (beat.pool !== runPodPool) return
      seen.add(`${beat.workerId} ${beat.incarnation}`)
      if (beat.state === 'gone') {
        alive.delete(beat.workerId)
        if (beat.counts) counts.push(beat.counts)
        return
      }
      alive.add(beat.workerId)
      // A worker that was killed says no last word.
      for (const id of alive) if (!fake.fleet.find(id)?.child) alive.delete(id)
      most = Math.max(most, alive.size)
    },
  })
  return {
    most: () => most,
    /** How many lives of a worker were past hello. */
    lives: () => seen.size,
    counts: () => counts,
    stop: () => subscription.unsubscribe(),
  }
}

const beatSchema = z.object({
  workerId: z.string(),
  incarnation: z.string(),
  pool: z.string().optional(),
  state: z.string(),
  counts: z.object({ jobs: z.number() }).optional(),
})
