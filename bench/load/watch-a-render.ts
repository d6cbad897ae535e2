import { setTimeout as pause } from 'node:timers/promises'

const renderSeconds = 30
const pollEveryMs = 1_000

type Watching = {
  key: string
  watchers: number
  /** Submits a job under this prompt and resolves to its id. */
  submit: (prompt: string) => Promise<string>
  timedStatus: (job: { jobId: string; key: string }) => Promise<number>
  listen: (job: { jobId: string; key: string }) => Promise<void>
}

/**
 * One render, followed by as many event streams as clients that ask for its status each second, as a page
 * does. Resolves to how long each status took, in milliseconds, once all streams have ended with the job.
 */
export async function watchARender(watching: Watching): Promise<number[]> {
  const { key, watchers, submit, timedStatus, listen } = watching
  const jobId = await submit(`null:seconds=${renderSeconds}`)
  const job = { jobId, key }
  const isOver = new AbortController()
  const statusMs: number[] = []
  const poller = async (number: number) => {
    await pause((number / watchers) * pollEveryMs)
    while (!isOver.signal.aborted) {
      const tookMs = await timedStatus(job)
      statusMs.push(tookMs)
      await pause(Math.max(0, pollEveryMs - tookMs))
    }
  }
  const numbers = Array.from({ length: watchers }, (_, number) => number)
  const polling = Promise.all(numbers.map(poller))
  await Promise.all(numbers.map(() => listen(job)))
  isOver.abort()
  await polling
  return statusMs
}
