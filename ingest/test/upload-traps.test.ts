import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import { limits } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import { afterAll, describe, expect, it } from 'vitest'
import { portrait, useRestWorld, voice } from './rest-world.ts'

const world = useRestWorld()
// Whatever clients send, it is no fault of ours.
afterAll(() => expect(world.logged('request failed')).toEqual([]))

type Failed = { error: { code: string; details: { field?: string; problem?: string } } }

/** Posts a form and returns `status code field` of the answer. */
async function post(form: FormData): Promise<string> {
  const answer = await world.call('/generate', { method: 'POST', body: form })
  const { error } = answer.body as unknown as Failed
  return `${answer.status} ${error?.code} ${error?.details.field ?? ''}`.trim()
}

function aForm(): FormData {
  const form = new FormData()
  form.append('image', new Blob([portrait as never]), 'i')
  form.append('audio', new Blob([voice as never]), 'a')
  return form
}

/** Sends a chunked body, which announces no length, and reads the answer. */
async function sendChunked(chunks: Iterable<Buffer>) {
  const outgoing = request(`${world.url}/generate`, {
    method: 'POST',
    agent: new Agent(),
    headers: { ...world.mine.headers, 'content-type': 'multipart/form-data; boundary=b' },
  })
  const answered = once(outgoing, 'response')
  // The server may close before everything is sent. By then the answer has been read.
  outgoing.on('error', () => undefined)
  let hasAnswer = false
  void answered.then(() => {
    hasAnswer = true
  })
  for (const chunk of chunks) {
    if (hasAnswer) break
    if (!outgoing.write(chunk)) await Promise.race([once(outgoing, 'drain'), answered])
  }
  const isEarly = hasAnswer
  outgoing.end()
  const [response] = await answered
  let text = ''
  for await (const part of response) text += part
  return { status: Number(response.statusCode), text, isEarly }
}

function* repeated(head: string, bytes: number, tail: string): Generator<Buffer> {
  yield Buffer.from(head)
  const block = Buffer.alloc(2 ** 20)
  for (let sent = 0; sent < bytes; sent += block.length) yield block
  yield Buffer.from(tail)
}

const filePart = (name: string) =>
  `--b\r\ncontent-disposition: form-data; name="${name}"; filename="f"\r\n\r\n`

describe('a form that the multipart parser accepts', () => {
  it('is refused: a file without a name', async () => {
    const unnamed = '--b\r\ncontent-disposition: form-data; filename="f"\r\n\r\nx\r\n--b--\r\n'
    const answer = await sendChunked([Buffer.from(unnamed)])
    expect(answer.status).toBe(400)
    expect(answer.text).toContain('it has no name')
  })

  it('is refused: fields truncated, sent twice, sent as JSON, named like a file', async () => {
    const cut = aForm()
    cut.append('prompt', 'x'.repeat(20_000))
    expect(await post(cut)).toBe('400 INVALID_REQUEST prompt')
    const answer = await world.call('/generate', { method: 'POST', body: cut })
    expect((answer.body as unknown as Failed).error.details.problem).toBe('at most 2000 characters')
    const twice = aForm()
    twice.append('prompt', 'a')
    twice.append('prompt', 'b')
    expect(await post(twice)).toBe('400 INVALID_REQUEST prompt')
    const text = new FormData()
    text.append('image', 'x')
    expect(await post(text)).toBe('400 INVALID_REQUEST image')
    const json = await sendChunked([
      Buffer.from(
        '--b\r\ncontent-disposition: form-data; name="prompt"\r\n' +
          'content-type: application/json\r\n\r\n{"a":1}\r\n--b--\r\n',
      ),
    ])
    expect(json).toMatchObject({ status: 400 })
    expect(json.text).toContain('"field":"prompt"')
  })

  it('is refused: files sent twice or under unknown names, too many parts, names of the prototype', async () => {
    const twice = aForm()
    twice.append('image', new Blob([portrait as never]), 'i')
    expect(await post(twice)).toBe('400 INVALID_REQUEST image')
    const unknown = aForm()
    unknown.append('video', new Blob(['x']), 'v')
    expect(await post(unknown)).toBe('400 INVALID_REQUEST video')
    const many = aForm()
    for (let i = 0; i < 30; i++) many.append(`f${i}`, 'x')
    expect(await post(many)).toBe('400 INVALID_REQUEST f0')
    const prototype = aForm()
    prototype.append('__proto__', 'x')
    expect(await post(prototype)).toBe('400 INVALID_REQUEST __proto__')
    expect(await world.spooled()).toEqual([])
  })

  it('is read to its end before it is refused, so that the client can read the answer', async () => {
    const files = [0, 1, 2, 3, 4].map((n) => `${filePart(`v${n}`)}x\r\n`).join('')
    const rest = repeated(`${files}${filePart('v5')}`, 40 * 2 ** 20, '\r\n--b--\r\n')
    const answer = await sendChunked(rest)
    expect(answer).toMatchObject({ status: 400, isEarly: false })
    expect(answer.text).toContain('INVALID_REQUEST')
    const large = repeated(filePart('image'), 40 * 2 ** 20, '\r\n--b--\r\n')
    expect(await sendChunked(large)).toMatchObject({ status: 413, isEarly: false })
  })
})

describe('a body without a length', () => {
  it('is refused past the limit of the whole body although no part is too large', async () => {
    const tail = `\r\n${filePart('audio')}x\r\n--b--\r\n`
    const preamble = repeated('', limits.bodyMaxBytes, `\r\n${filePart('image')}x${tail}`)
    const answer = await sendChunked(preamble)
    expect(answer.status).toBe(413)
    expect(answer.text).toContain('BODY_TOO_LARGE')
  })

  it('is not read past the bound of what is drained', async () => {
    const endless = repeated(filePart('image'), 2 * limits.drainMaxBytes, '\r\n--b--\r\n')
    const answer = await sendChunked(endless).catch(() => 'reset')
    if (answer !== 'reset') expect(answer).toMatchObject({ status: 413 })
    await until(async () => (await world.spooled()).length === 0)
  })
})

it('leaves nothing behind when the client hangs up in the middle', async () => {
  const socket = connect(Number(new URL(world.url).port), '127.0.0.1')
  socket.write(
    `POST /generate HTTP/1.1\r\nhost: x\r\nauthorization: ${world.mine.headers.authorization}\r\n` +
      'content-type: multipart/form-data; boundary=b\r\ncontent-length: 1000000\r\n\r\n' +
      `${filePart('image')}${'x'.repeat(100_000)}`,
  )
  await until(async () => (await world.spooled()).length === 1)
  socket.destroy()
  await until(async () => (await world.spooled()).length === 0)
  // It is no failure of ours, which would page somebody.
  await until(() => world.logged('request refused').length > 0)
  expect(world.logged('request failed')).toEqual([])
})

it('refuses an announced length that is too much even to drain, before a byte is read', async () => {
  const outgoing = request(`${world.url}/generate`, {
    method: 'POST',
    headers: {
      ...world.mine.headers,
      'content-type': 'multipart/form-data; boundary=b',
      'content-length': String(limits.drainMaxBytes + 1),
    },
  })
  outgoing.on('error', () => undefined)
  outgoing.flushHeaders()
  const [response] = await once(outgoing, 'response')
  expect(response.statusCode).toBe(413)
  outgoing.destroy()
})
