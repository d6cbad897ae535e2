import type { IncomingMessage } from 'node:http'
import { request as requestSecurely } from 'node:https'

export type TlsAnswer = { status: number; message: IncomingMessage }
export type TlsOptions = { method?: string; headers?: Record<string, string>; body?: Buffer }
export type TlsClient = ReturnType<typeof tlsClient>

/**
 * HTTPS for names that no resolver knows, with certificates of an authority that nobody else trusts. `fetch`
 * can be told neither.
 */
export function tlsClient(address: string, authority: string) {
  async function send(url: string, { method = 'GET', headers = {}, body }: TlsOptions = {}) {
    return new Promise<TlsAnswer>((resolve, reject) => {
      const sending = requestSecurely(url, {
        method,
        headers: { ...headers, ...(body ? { 'content-length': String(body.length) } : {}) },
        ca: authority,
        agent: false,
        lookup: (_name, { all }, found) =>
          all ? found(null, [{ address, family: 4 }]) : found(null, address, 4),
      })
      sending.on('error', reject)
      sending.on('response', (message) => resolve({ status: message.statusCode ?? 0, message }))
      sending.end(body)
    })
  }
  return {
    send,
    /** The whole body of the answer. */
    async bytes(url: string, options?: TlsOptions) {
      const { status, message } = await send(url, options)
      const chunks: Buffer[] = []
      for await (const chunk of message) chunks.push(chunk as Buffer)
      return { status, headers: message.headers, body: Buffer.concat(chunks) }
    },
  }
}
