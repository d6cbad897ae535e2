import { buckets, jobRecordSchema } from '@avatar/contracts'
import type { System } from '../../tests/harness/index.ts'

type Connection = Awaited<ReturnType<System['broker']>>['connection']

/** Hears each write of a record as the broker takes it: when jobs were accepted, and when claimed first. */
export function watchClaims(connection: Connection) {
  const acceptedMs = new Map<string, number>()
  const claimedMs = new Map<string, number>()
  connection.subscribe(`$KV.${buckets.job.name}.>`, {
    callback: (error, message) => {
      if (error) return
      const { jobId, state } = jobRecordSchema.parse(message.json())
      const times = state === 'pending' ? acceptedMs : state === 'claimed' ? claimedMs : undefined
      if (times && !times.has(jobId)) times.set(jobId, performance.now())
    },
  })
  return {
    /** How long a job waited for its first claim. @throws Error when it was not seen */
    waitMsOf(jobId: string): number {
      const [since, until] = [acceptedMs.get(jobId), claimedMs.get(jobId)]
      if (since === undefined || until === undefined)
        throw new Error(`no claim of ${jobId} was seen`)
      return until - since
    },
  }
}
