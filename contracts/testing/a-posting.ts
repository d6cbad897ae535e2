import {
  type JobPosting,
  jobPostingSchema,
  type Spent,
  type WorkerPosting,
  workerPostingSchema,
} from '../src/index.ts'

/** One attempt as it is booked: completed and charged, unless the test says otherwise. */
export function aSpent(difference: Partial<Spent> = {}): Spent {
  return {
    epoch: 1,
    pool: 'l40s',
    gpuSeconds: 10,
    micros: 5_300,
    end: 'completed',
    isMeasured: true,
    isCharged: true,
    ...difference,
  }
}

/** The posting of an ended job, whose sums follow from its attempts. */
export function aJobPosting(difference: Partial<JobPosting> = {}): JobPosting {
  const attempts = difference.attempts ?? [aSpent()]
  const sum = (isCharged: boolean) => {
    const own = attempts.filter((attempt) => attempt.isCharged === isCharged)
    return {
      gpuSeconds: own.reduce((total, { gpuSeconds }) => total + gpuSeconds, 0),
      micros: own.reduce((total, { micros }) => total + micros, 0),
    }
  }
  return jobPostingSchema.parse({
    jobId: 'b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11',
    owner: 'o_abcDEF123456',
    state: 'completed',
    audioSeconds: 4,
    frames: 100,
    priority: 'normal',
    createdAtMs: 1_700_000_000_000,
    finishedAtMs: 1_700_000_010_000,
    attempts,
    charged: sum(true),
    ours: sum(false),
    ...difference,
  })
}

/** The posting of a worker that has only idled. */
export function aWorkerPosting(difference: Partial<WorkerPosting> = {}): WorkerPosting {
  return workerPostingSchema.parse({
    workerId: 'worker-1',
    incarnation: 'first',
    pool: 'l40s',
    priceMicros: 530,
    loadingSeconds: 0,
    idleSeconds: 0,
    renderingSeconds: 0,
    atMs: 1_700_000_010_000,
    ...difference,
  })
}
