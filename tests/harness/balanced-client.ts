import { setTimeout as pause } from 'node:timers/promises'

/** One fact of a job, as its event stream tells it. */
export type StreamedFact = { id: string; event: string }

/** A call that takes longer counts as hanging. */
const callWithinMs = 60_000
/** Before all replicas are tried again. */
const againMs = 50
const ends: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled'])

/**
 * A client behind a load balancer: its requests go to the replicas in turn, and on to the next one where a
 * replica takes no connection or says that it is leaving. Whatever else becomes of a request is noted.
 */
export function createBalancedClient(urls: readonly string[], key: string) {
  let requests = 0
  let resumed = 0
  let turn = 0
  /** Requests that got no answer though a replica had taken them. */
  const unanswered: string[] = []

  async function sendTo(url: string, path: string, init: RequestInit) {
    const headers = new Headers(init.headers)
    headers.set('authorization', `Bearer ${key}`)
    // A connection that stays open may be closed just as the next request is sent on it.
    headers.set('connection', 'close')
    const signal = AbortSignal.timeout(callWithinMs)
    const answer = await fetch(url + path, { ...init, headers, signal })
    if (answer.status !== 503 || !(await isLeaving(answer.clone()))) return answer
    return undefined
  }

  /** @returns the first answer of a replica that takes requests, whatever its status */
  async function send(path: string, init: RequestInit = {}): Promise<Response> {
    requests++
    for (;;) {
      for (let tried = 0; tried < urls.length; tried++) {
        const url = urls[turn++ % urls.length] ?? ''
        try {
          const answer = await sendTo(url, path, init)
          if (answer) return answer
        } catch (error) {
          if (reasonOf(error) !== 'ECONNREFUSED')
            unanswered.push(`${init.method ?? 'GET'} ${path}: ${reasonOf(error)}`)
        }
      }
      await pause(againMs)
    }
  }

  /** Follows a job to its end, from stream to stream, by the id that it has seen last. */
  async function follow(jobId: string): Promise<StreamedFact[]> {
    const facts: StreamedFact[] = []
    for (;;) {
      const last = facts.at(-1)?.id
      const headers = last === undefined ? {} : { 'last-event-id': last }
      const stream = await send(`/events/${jobId}`, { headers })
      if (stream.status === 204) return facts
      if (stream.status !== 200) throw new Error(`the stream answered ${stream.status}`)
      const text = await stream.text()
      for (const [, id = '', event = ''] of text.matchAll(/^id: (.*)\nevent: (.*)$/gm))
        facts.push({ id, event })
      if (ends.has(facts.at(-1)?.event ?? '')) return facts
      resumed++
    }
  }

  return { send, follow, tally: () => ({ requests, resumed, unanswered }) }
}

async function isLeaving(answer: Response): Promise<boolean> {
  const body = (await answer.json()) as { error?: { code?: string } } // Only the code is looked at.
  return body.error?.code === 'DRAINING'
}

/** What the operating system says, such as ECONNRESET, where it says something. */
function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: { code?: string } } // As `fetch` throws it.
  return cause?.code ?? String(error)
}
