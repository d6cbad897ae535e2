import { setTimeout as pause } from 'node:timers/promises'

/** One fact of a job, as its event stream tells it. */
export type StreamedFact = { id: string; event: string }

/** A call that takes longer counts as hanging. */
const callWithinMs = 60_000
/** Before all replicas are tried again. */
const againMs = 50
/** Requests that were sent before a replica was left out have reached it by then. */
const knownAfterMs = 300
/** How long a slow upload pauses in its middle. */
const pausedMs = 1_000
const ends: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled'])

/**
 * A client behind a load balancer: its requests go to the replicas in turn, except to those that are left out,
 * and on to the next one where a replica takes no connection or says that it is leaving. Whatever else becomes
 * of a request is noted.
 */
export function createBalancedClient(urls: readonly string[], key: string) {
  let requests = 0
  let resumed = 0
  let turn = 0
  const leftOut = new Set<string>()
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

  /**
   * `made` makes the request again for each try.
   *
   * @returns the first answer of a replica that takes requests, whatever its status
   */
  async function send(path: string, made: () => RequestInit = () => ({})): Promise<Response> {
    requests++
    for (;;) {
      const inUse = urls.filter((url) => !leftOut.has(url))
      for (let tried = 0; tried < inUse.length; tried++) {
        const url = inUse[turn++ % inUse.length] ?? ''
        const init = made()
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
      const stream = await send(`/events/${jobId}`, () => ({ headers }))
      if (stream.status === 204) return facts
      if (stream.status !== 200) throw new Error(`the stream answered ${stream.status}`)
      const text = await stream.text()
      for (const [, id = '', event = ''] of text.matchAll(/^id: (.*)\nevent: (.*)$/gm))
        facts.push({ id, event })
      if (ends.has(facts.at(-1)?.event ?? '')) return facts
      resumed++
    }
  }

  return {
    send,
    follow,
    /** Sends it nothing new, as a proxy does that knows that a replica is going. */
    async leaveOut(url: string) {
      leftOut.add(url)
      await pause(knownAfterMs) // As a pod waits before it is told to leave.
    },
    takeBack: (url: string) => void leftOut.delete(url),
    tally: () => ({ requests, resumed, unanswered }),
  }
}

/** The request of a client on a slow line: half of its body, a pause, and the rest. */
export async function uploadSlowly(form: FormData, headers: Record<string, string>) {
  const whole = new Response(form)
  const type = whole.headers.get('content-type') ?? ''
  const bytes = new Uint8Array(await whole.arrayBuffer())
  const half = Math.floor(bytes.length / 2)
  async function* parts() {
    yield bytes.subarray(0, half)
    await pause(pausedMs)
    yield bytes.subarray(half)
  }
  return (): RequestInit => ({
    method: 'POST',
    headers: { ...headers, 'content-type': type },
    body: ReadableStream.from(parts()),
    duplex: 'half',
  })
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
