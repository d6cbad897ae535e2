import { type StatusView, statusViewSchema } from '@avatar/contracts'

const withinMs = 180_000

/**
 * Follows a job's event stream to its end, as a client does.
 *
 * @returns every view that came as progress, in order
 * @throws Error when the stream does not end in time
 */
export async function followProgress(
  url: string,
  key: string,
  jobId: string,
): Promise<StatusView[]> {
  const response = await fetch(`${url}/events/${jobId}`, {
    headers: { authorization: `Bearer ${key}` },
    signal: AbortSignal.timeout(withinMs),
  })
  if (!response.ok || !response.body) throw new Error(`the stream answered ${response.status}`)
  const views: StatusView[] = []
  let rest = ''
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const messages = (rest + text).split('\n\n')
    rest = messages.pop() ?? ''
    for (const message of messages) {
      const data = /^event: progress\ndata: (.*)$/m.exec(message)?.[1]
      if (data) views.push(statusViewSchema.parse(JSON.parse(data)))
    }
  }
  return views
}
