import { once } from 'node:events'
import { type Agent, request } from 'node:http'

export type Posted = {
  status: number
  body: string
  /** From the first byte sent to the last byte read. */
  ms: number
  /** The same without the upload: from the last byte handed to the network on. */
  afterUploadMs: number
}

/** Sends one POST. */
export async function timedPost(
  url: string,
  agent: Agent,
  key: string,
  { type, bytes }: { type: string; bytes: Buffer },
): Promise<Posted> {
  const startedAtMs = performance.now()
  const sent = request(url, {
    method: 'POST',
    agent,
    headers: {
      authorization: `Bearer ${key}`,
      'content-type': type,
      'content-length': bytes.length,
    },
  })
  let uploadedAtMs = startedAtMs
  sent.once('finish', () => {
    uploadedAtMs = performance.now()
  })
  sent.end(bytes)
  const [answer] = await once(sent, 'response')
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk)
  const endedAtMs = performance.now()
  return {
    status: answer.statusCode,
    body: Buffer.concat(chunks).toString(),
    ms: endedAtMs - startedAtMs,
    afterUploadMs: endedAtMs - uploadedAtMs,
  }
}
