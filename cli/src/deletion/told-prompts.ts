import { type JobRecord, streams, subjects } from '@avatar/contracts'
import { type Bus, readAll } from '@avatar/service-kit'

/** A message about a job that repeats the job's prompt. */
export type ToldPrompt = { jobId: string; subject: string }

/** A shorter prompt may stand anywhere by chance. */
const shortestCharacters = 8

/** Everything that is told about jobs and stays longer than their media. */
const tellers = [
  { stream: streams.EVENTS.name, all: 'evt.>', of: subjects.eventsOfJob },
  { stream: streams.NOTIFY.name, all: 'notify.>', of: () => 'notify.>' },
  {
    stream: streams.LEDGER.name,
    all: 'ledger.job.>',
    of: (job: string) => `ledger.job.*.*.*.${job}`,
  },
] as const

/**
 * The messages that repeat what a customer wrote. None may: only the record holds the prompt. They are read one
 * after the other and not kept, because there may be millions.
 *
 * @param job only those about one job
 */
export async function toldPrompts(
  bus: Bus,
  records: readonly JobRecord[],
  job: string | undefined,
): Promise<ToldPrompt[]> {
  const written = new Map(
    records
      .filter(({ prompt }) => prompt.length >= shortestCharacters)
      .map(({ jobId, prompt }) => [jobId, JSON.stringify(prompt).slice(1, -1)]),
  )
  const found: ToldPrompt[] = []
  if (written.size === 0) return found
  for (const { stream, all, of } of tellers)
    await readAll((reading) =>
      bus.followStream(stream, job === undefined ? all : of(job), {
        ...reading,
        onMessage({ subject, body }) {
          const jobId = jobIdOf(subject, body)
          const prompt = written.get(jobId)
          if (prompt !== undefined && JSON.stringify(body).includes(prompt))
            found.push({ jobId, subject })
        },
      }),
    )
  return found
}

/** A notification's subject names its publisher, all others the job. */
function jobIdOf(subject: string, body: unknown): string {
  const named = body as { job_id?: unknown } | undefined // Looked at, and not believed.
  return typeof named?.job_id === 'string' ? named.job_id : (subject.split('.').at(-1) ?? '')
}
