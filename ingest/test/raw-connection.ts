import { once } from 'node:events'
import { connect, type SocketConstructorOpts } from 'node:net'

export type RawConnection = Awaited<ReturnType<typeof openConnection>>

/** A connection on which a test writes the bytes of its requests, with what has arrived. */
export async function openConnection(url: string, options: SocketConstructorOpts = {}) {
  const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', ...options })
  await once(socket, 'connect')
  const connection = { socket, text: '', hasEnded: false }
  socket.on('data', (chunk) => {
    connection.text += chunk
  })
  socket.on('end', () => {
    connection.hasEnded = true
  })
  socket.on('error', () => undefined) // The server may reset it.
  return connection
}

/** Sends these bytes, one write after the other, and reads until the connection is closed. */
export async function exchange(url: string, ...writes: (string | Buffer)[]): Promise<string> {
  const connection = await openConnection(url)
  const { socket } = connection
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.setNoDelay(true)
  for (const bytes of writes) {
    socket.write(bytes)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await closed
  return connection.text
}

/** The body of an upload of these files, whose parts the boundary `b` divides. */
export function rawUpload(files: Readonly<Record<string, Buffer>>): Buffer {
  const parts = Object.entries(files).flatMap(([name, content]) => [
    Buffer.from(`--b\r\ncontent-disposition: form-data; name="${name}"; filename="f"\r\n\r\n`),
    content,
    Buffer.from('\r\n'),
  ])
  return Buffer.concat([...parts, Buffer.from('--b--\r\n')])
}
