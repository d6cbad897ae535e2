import { once } from 'node:events'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'

/** An HTTP response and the time from the first byte sent to the last byte read. */
export type Timed = { status: number; body: string; ms: number }

/** Sends requests over connections that stay open, as a busy client does. */
export function createSender(url: string, headers: Record<string, string>) {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  return {
    async send(
      method: 'GET' | 'POST',
      path: string,
      body?: { type: string; bytes: Buffer },
    ): Promise<Timed> {
      const startedAtMs = performance.now()
      const sent = request(url + path, {
        method,
        agent,
        headers: {
          ...headers,
          ...(body ? { 'content-type': body.type, 'content-length': body.bytes.length } : {}),
        },
      })
      sent.end(body?.bytes)
      const [answer] = await once(sent, 'response')
      const chunks: Buffer[] = []
      for await (const chunk of answer) chunks.push(chunk)
      const ms = performance.now() - startedAtMs
      return { status: answer.statusCode, body: Buffer.concat(chunks).toString(), ms }
    },
    stop: () => agent.destroy(),
  }
}

export type Sender = ReturnType<typeof createSender>

/**
 * A server that reads each request and answers at once. Its times are the cost of the network and the
 * client, which every other figure includes.
 */
export async function startIdleServer() {
  const server = createServer((incoming, response) => {
    incoming.resume().once('end', () => response.end('{}'))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // A string only for a pipe; this server listens on a port.
  return { url: `http://127.0.0.1:${port}`, stop: () => server.close() }
}

/** A multipart body of an image, a voice and a prompt. */
export function multipart(image: Buffer, audio: Buffer, prompt = '') {
  const boundary = 'bench-7f2d1c'
  const part = (name: string, file: string) =>
    Buffer.from(
      `--${boundary}\r\ncontent-disposition: form-data; name="${name}"${file ? `; filename="${file}"` : ''}\r\n\r\n`,
    )
  const end = Buffer.from('\r\n')
  const bytes = Buffer.concat([
    ...[part('image', 'face.jpg'), image, end],
    ...[part('audio', 'voice.wav'), audio, end],
    ...(prompt ? [part('prompt', ''), Buffer.from(prompt), end] : []),
    Buffer.from(`--${boundary}--\r\n`),
  ])
  return { type: `multipart/form-data; boundary=${boundary}`, bytes }
}
