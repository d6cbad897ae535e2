import { z } from 'zod'
import { failureCodes } from './failures.ts'
import {
  jobIdSchema,
  jobStateSchema,
  ownerSchema,
  poolSchema,
  prioritySchema,
  spentSchema,
  timeMsSchema,
} from './job.ts'
import { currencySchema } from './prices.ts'

/** Millionths of the configured currency, for each GPU second or as a sum. */
export const microsSchema = z.int().nonnegative()

const sumSchema = z.object({ gpuSeconds: z.number().nonnegative(), micros: microsSchema })
/** GPU seconds and their price. */
export type GpuSum = z.infer<typeof sumSchema>

/**
 * What one job cost, posted when it has ended, as the first message of its subject. It names owner and
 * job, and nothing that the owner sent.
 */
export const jobPostingSchema = z.object({
  jobId: jobIdSchema,
  owner: ownerSchema,
  state: jobStateSchema,
  code: z.enum(failureCodes).optional(),
  audioSeconds: z.number().positive(),
  frames: z.int().positive(),
  priority: prioritySchema,
  createdAtMs: timeMsSchema,
  startedAtMs: timeMsSchema.optional(),
  finishedAtMs: timeMsSchema,
  attempts: z.array(spentSchema),
  /** What the owner pays. */
  charged: sumSchema,
  /** What nobody but us pays: lost, released and failed attempts. */
  ours: sumSchema,
})
export type JobPosting = z.infer<typeof jobPostingSchema>

/** What one incarnation of a worker has spent so far on a day; the latest of its subject counts. */
export const workerPostingSchema = z.object({
  workerId: z.string(),
  incarnation: z.string(),
  pool: poolSchema,
  priceMicros: microsSchema,
  loadingSeconds: z.number().nonnegative(),
  idleSeconds: z.number().nonnegative(),
  renderingSeconds: z.number().nonnegative(),
  atMs: timeMsSchema,
})
export type WorkerPosting = z.infer<typeof workerPostingSchema>

/** What the provider charged for a pool on a day. */
export const billPostingSchema = z.object({
  pool: poolSchema,
  day: z.iso.date(),
  micros: microsSchema,
  currency: currencySchema,
})
export type BillPosting = z.infer<typeof billPostingSchema>
