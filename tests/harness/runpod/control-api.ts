import { z } from 'zod'
import type { Endpoint, Release } from './endpoint.ts'
import type { JobQueue } from './job-queue.ts'
import { type RingTrouble, type RingTroubles, ringTroubles } from './ring-trouble.ts'
import type { WorkerFleet } from './worker-fleet.ts'

/** What the parts of the fake share. */
export type FakeParts = {
  state: {
    endpoint: Endpoint
    releases: Release[]
    isThrottled: boolean
    polls: Set<{ workerId: string; wake: () => void }>
    stops: Map<string, string[]>
  }
  jobs: JobQueue
  fleet: WorkerFleet
  troubles: RingTroubles
  version: () => number
  isBusy: (workerId: string) => boolean
  pollMs: number
  apiKey: string
  workerKey: string
}

const troubleSchema = z.enum([...ringTroubles, 'no-credit'])

/** The body of `POST /control`: each field does one thing. */
export const controlSchema = z.strictObject({
  /** How the next doorbells go. */
  plan: z.array(z.union([troubleSchema, z.literal('well')])).optional(),
  /** How all doorbells go until it is null. */
  spell: troubleSchema.nullable().optional(),
  share: z.number().min(0).max(1).optional(),
  isThrottled: z.boolean().optional(),
  /** Sets `workers.max` as the provider does by itself: no release tells of it. */
  max: z.int().min(0).optional(),
  /** Kills a worker; `any`: one that runs, by chance. */
  kill: z.string().optional(),
})
export type Control = z.infer<typeof controlSchema>

export type ControlApi = ReturnType<typeof createControlApi>

/** What a test does to the provider, and what it sees of it. */
export function createControlApi({ state, jobs, fleet, troubles, isBusy }: FakeParts) {
  return {
    act(control: Control): { killed?: string } {
      if (control.plan) troubles.plan(control.plan)
      if (control.spell !== undefined)
        troubles.setSpell((control.spell ?? undefined) as RingTrouble | undefined) // Without null.
      if (control.share !== undefined) troubles.setShare(control.share)
      if (control.isThrottled !== undefined) state.isThrottled = control.isThrottled
      if (control.max !== undefined)
        state.endpoint = {
          ...state.endpoint,
          workers: { ...state.endpoint.workers, max: control.max },
        }
      if (control.kill === undefined) return {}
      const running = fleet.running()
      const victim =
        control.kill === 'any'
          ? running[troubles.random(Math.max(1, running.length))]
          : fleet.find(control.kill)
      if (!victim) return {}
      fleet.kill(victim)
      return { killed: victim.id }
    },

    show: () => ({
      jobs: jobs.all().map(({ id, status, run, workerId, taken, output, error }) => ({
        ...{ id, status, input: run.input, policy: run.policy ?? {}, workerId, taken },
        ...{ output, error },
      })),
      workers: fleet.all().map((worker) => ({
        ...{ id: worker.id, pid: worker.child?.pid ?? null, isReady: worker.isReady },
        isBusy: isBusy(worker.id),
      })),
      mostWorkers: fleet.most(),
      rings: troubles.counts(),
    }),
  }
}
