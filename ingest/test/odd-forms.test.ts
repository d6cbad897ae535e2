import { request } from 'node:http'
import { limits, type Priority } from '@avatar/contracts'
import { until } from '@avatar/service-kit/testing'
import sharp from 'sharp'
import { afterAll, describe, expect, it } from 'vitest'
import { wav } from './media-fixtures.ts'
import { portrait, useRestWorld } from './rest-world.ts'

const world = useRestWorld()
const image = await sharp(portrait).resize(160, 160).jpeg().toBuffer()
const audio = wav({ seconds: 0.5 })

// Whatever clients send, it is no fault of ours.
afterAll(() => expect(world.logged('request failed')).toEqual([]))

type Answer = {
  status: number
  data?: { job_id: string }
  error?: {
    code: string
    message: string
    details: { field?: string; problem?: string; found?: string; example?: string }
  }
}

/** Posts these bytes as they are. */
function post(body: Buffer, headers: Record<string, string> = {}, query = ''): Promise<Answer> {
  const multipart = 'multipart/form-data; boundary=edge'
  const all = { ...world.mine.headers, 'content-type': multipart, ...headers }
  return new Promise((resolve, reject) => {
    const outgoing = request(
      `${world.url}/generate${query}`,
      { method: 'POST', headers: all },
      (got) => {
        const chunks: Buffer[] = []
        got.on('data', (chunk: Buffer) => chunks.push(chunk))
        got.on('end', () => {
          resolve({ status: got.statusCode ?? 0, ...JSON.parse(Buffer.concat(chunks).toString()) })
        })
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

type RawPart = [headers: string, content: Buffer | string]

/** A body of these parts, each with its headers as they are written. */
function bodyOf(parts: RawPart[], { end = '--edge--\r\n', preamble = '' } = {}): Buffer {
  return Buffer.concat([
    Buffer.from(preamble),
    ...parts.map(([headers, content]) =>
      Buffer.concat([
        Buffer.from('--edge\r\n'),
        Buffer.from(headers === '' ? '\r\n' : `${headers}\r\n\r\n`, 'latin1'),
        Buffer.from(content as never),
        Buffer.from('\r\n'),
      ]),
    ),
    Buffer.from(end),
  ])
}

const named = (name: string, more = '') =>
  `Content-Disposition: form-data; name="${name}"${more && `\r\n${more}`}`
const file = (name: string) => `${named(name)}; filename="f"`
const json = 'Content-Type: application/json'
const media: RawPart[] = [
  [file('image'), image],
  [file('audio'), audio],
]
const voice: RawPart = [file('audio'), audio]

/** The media and these parts. */
const form = (...parts: RawPart[]) => bodyOf([...media, ...parts])

/** What the job was made of. */
async function madeOf({ status, data, error }: Answer) {
  expect(status, JSON.stringify(error)).toBe(201)
  const found = await world.jobs.find(`${world.mine.owner}.${data?.job_id}`)
  const { prompt, seed, priority } = found?.value ?? {}
  return { prompt, seed, priority }
}

describe('a form is accepted', () => {
  it.each<[string, RawPart]>([
    ['without a file name', [named('image'), image]],
    [
      'without a file name, as octets',
      [named('image', 'Content-Type: application/octet-stream'), image],
    ],
    ['without a file name, as text', [named('image', 'Content-Type: text/plain'), image]],
    ['with an empty file name', [`${named('image')}; filename=""`, image]],
    ['with an encoded file name', [`${named('image')}; filename*=UTF-8''b%C3%BC.png`, image]],
    ['with a file name of UTF-8', [`${named('image')}; filename="\xc3\xbc \\"x\\".png"`, image]],
    [
      'with a file name that looks like another part',
      [`Content-Disposition: form-data; filename="; name=audio"; name=image`, image],
    ],
    [
      'in another case and order',
      [`content-type: IMAGE/JPEG\r\nCONTENT-DISPOSITION: Form-Data;NAME=image`, image],
    ],
    ['with a folded header', ['Content-Disposition: form-data;\r\n name="image"', image]],
    [
      'with an encoding that changes nothing',
      [named('image', 'Content-Transfer-Encoding: 8bit'), image],
    ],
  ])('with a portrait %s', async (_what, part) => {
    await madeOf(await post(bodyOf([part, voice])))
  })

  it.each<[string, string]>([
    ['quoted', 'multipart/form-data; boundary="edge"'],
    ['in capitals, with a charset', 'Multipart/Form-Data; charset=utf-8; BOUNDARY=edge'],
  ])('with a boundary that is %s', async (_what, type) => {
    await madeOf(await post(form(), { 'content-type': type }))
  })

  it('with a preamble and an epilogue', async () => {
    const end = '--edge--\r\nThe end, as e-mail knows it.'
    await madeOf(await post(bodyOf(media, { preamble: 'Hello.\r\n', end })))
  })

  it('with Content-Encoding: identity', async () => {
    await madeOf(await post(form(), { 'content-encoding': 'identity' }))
  })

  it.each<[string, RawPart, { prompt?: string; seed?: number; priority?: Priority }]>([
    ['a prompt as a file', [file('prompt'), 'hé'], { prompt: 'hé' }],
    ['a prompt as JSON', [named('prompt', json), '"h\\u00e9"'], { prompt: 'hé' }],
    [
      'a prompt as Latin-1',
      [
        named('prompt', 'Content-Type: text/plain; charset=ISO-8859-1'),
        Buffer.from('hé', 'latin1'),
      ],
      { prompt: 'hé' },
    ],
    [
      'a prompt as UTF-16',
      [named('prompt', 'Content-Type: text/plain; charset=utf-16le'), Buffer.from('hé', 'utf16le')],
      { prompt: 'hé' },
    ],
    ['a byte-order mark', [named('prompt'), '\ufeffhé'], { prompt: 'hé' }],
    ['an empty prompt', [named('prompt'), ''], { prompt: '' }],
    ['an empty seed', [named('seed'), ''], {}],
    ['a seed', [named('seed'), '42'], { seed: 42 }],
    ['a seed as JSON', [named('seed', json), ' 42 '], { seed: 42 }],
    ['a priority', [named('priority'), 'high'], { priority: 'high' }],
    ['an empty priority', [named('priority'), ''], {}],
    [
      'a priority in metadata',
      [named('metadata'), '{"priority":"normal"}'],
      { priority: 'normal' },
    ],
    [
      'metadata',
      [named('metadata', json), '{"prompt":"hé\\ud83d\\ude42","seed":42}'],
      { prompt: 'hé🙂', seed: 42 },
    ],
    ['metadata without a type', [named('metadata'), '{"seed":0}'], { prompt: '', seed: 0 }],
    [
      'metadata as a file',
      [`${named('metadata')}; filename="blob"\r\n${json}`, '\ufeff{"prompt":"x"}'],
      { prompt: 'x' },
    ],
    [
      'metadata with the longest prompt, escaped',
      [named('metadata'), `{"prompt":"${'\\ud83d\\ude42'.repeat(limits.promptMaxCharacters)}"}`],
      {},
    ],
    ['empty metadata', [named('metadata'), '{}'], { prompt: '' }],
    ['no metadata', [named('metadata'), ''], { prompt: '' }],
  ])('with %s', async (_what, part, expected) => {
    expect(await madeOf(await post(form(part)))).toMatchObject(expected)
  })

  it('with metadata beside other fields', async () => {
    const parts: RawPart[] = [
      [named('metadata', json), '{"seed":7}'],
      [named('prompt'), 'x'],
    ]
    expect(await madeOf(await post(form(...parts)))).toMatchObject({ prompt: 'x', seed: 7 })
  })
})

const range = `must be a whole number from 0 to ${limits.seedMax}`
const binary = Buffer.concat([Buffer.from('a'), Buffer.alloc(100_000, 0xff)])

describe('a field is refused by its name', () => {
  it.each<[string, RawPart | RawPart[], field: string, problem: string | RegExp, found?: string]>([
    ...['abc', '1.5', '-1', '99999999999', '2147483648', '0x1g', '1e99', 'NaN', ' ', '१'].map(
      (seed): [string, RawPart, string, string, string] => [
        `seed=${seed}`,
        [named('seed'), seed],
        'seed',
        range,
        seed,
      ],
    ),
    ['a long seed', [named('seed'), '9'.repeat(100_000)], 'seed', range],
    ...['HIGH', 'urgent', '1', ' '].map((priority): [string, RawPart, string, string, string] => [
      `priority=${priority}`,
      [named('priority'), priority],
      'priority',
      'must be high or normal',
      priority,
    ]),
    [
      'a priority of null in metadata',
      [named('metadata'), '{"priority":null}'],
      'metadata.priority',
      'must be high or normal',
      'null',
    ],
    [
      'a seed twice',
      [
        [named('seed'), '1'],
        [named('seed'), '1'],
      ],
      'seed',
      'sent twice',
    ],
    [
      'an empty field twice',
      [
        [named('seed'), ''],
        [named('seed'), ''],
      ],
      'seed',
      'sent twice',
    ],
    ['a binary seed', [named('seed'), binary], 'seed', /^binary/],
    ['a portrait as the prompt', [named('prompt'), portrait], 'prompt', /^binary/],
    [
      'a voice as the prompt',
      [named('prompt'), wav({ seconds: 1, amplitude: 0 })],
      'prompt',
      /^binary/,
    ],
    [
      'a prompt of invalid UTF-8',
      [named('prompt'), Buffer.from([0x61, 0xff])],
      'prompt',
      /not valid utf-8; send UTF-8/,
    ],
    [
      'a prompt of overlong UTF-8',
      [named('prompt'), Buffer.from([0xc0, 0xaf])],
      'prompt',
      /not valid utf-8/,
    ],
    [
      'a surrogate in UTF-8',
      [named('prompt'), Buffer.from([0xed, 0xa0, 0x80])],
      'prompt',
      /not valid utf-8/,
    ],
    [
      'a prompt that ends inside a character',
      [named('prompt'), Buffer.from([0x61, 0xc3])],
      'prompt',
      /not valid utf-8/,
    ],
    [
      'an unknown charset',
      [named('prompt', 'Content-Type: text/plain; charset=klingon'), 'x'],
      'prompt',
      /charset/,
      'klingon',
    ],
    ['a NUL', [named('prompt'), 'a\0b'], 'prompt', 'no control characters'],
    ['an escape sequence', [named('prompt'), '\x1b[1m'], 'prompt', 'no control characters'],
    ['a long prompt', [named('prompt'), 'é'.repeat(2_001)], 'prompt', 'at most 2000 characters'],
    [
      'a very long prompt',
      [named('prompt'), '🙂'.repeat(50_000)],
      'prompt',
      'at most 2000 characters',
    ],
    ['a prompt as broken JSON', [named('prompt', json), 'hello'], 'prompt', 'not valid JSON'],
    [
      'a prompt that is an object',
      [named('prompt', json), '{"a":1}'],
      'prompt',
      /expected string/,
      'an object',
    ],
    ['a seed that is a JSON text', [named('seed', json), '"42"'], 'seed', range, '42'],
    [
      'a prompt in Base64',
      [named('prompt', 'Content-Transfer-Encoding: base64'), 'aGk='],
      'prompt',
      /^Content-Transfer-Encoding/,
      'base64',
    ],
    [
      'a portrait in Base64',
      [named('image', 'Content-Transfer-Encoding: Base64'), 'aGk='],
      'image',
      /^Content-Transfer-Encoding/,
      'Base64',
    ],
    [
      'quoted-printable',
      [named('prompt', 'Content-Transfer-Encoding: quoted-printable'), 'a=20b'],
      'prompt',
      /^Content-Transfer-Encoding/,
    ],
    ...['toString', 'constructor', '__proto__', 'hasOwnProperty', 'Image', 'image[]', 'file'].map(
      (name): [string, RawPart, string, RegExp] => [
        `a field named ${name}`,
        [named(name), 'x'],
        name,
        /^unknown field; the form has image, .*prompt, seed, priority, quality, .*metadata$/,
      ],
    ),
    ['a file named constructor', [file('constructor'), 'x'], 'constructor', /^unknown field/],
    ['a name of 10 kB', [named('n'.repeat(10_000)), 'x'], 'n'.repeat(100), /^unknown field/],
    ['a name of invalid UTF-8', [named('\xff'), 'x'], '\ufffd', /^unknown field/],
    [
      '30 fields',
      Array.from({ length: 30 }, (_, i): RawPart => [named(`f${i}`), 'x']),
      'f0',
      /^unknown field/,
    ],
    [
      '30 files',
      Array.from({ length: 30 }, (): RawPart => [file('image'), 'x']),
      'image',
      'sent twice',
    ],
    ['an empty name', [named(''), 'x'], 'part 3', /^it has no name/],
    ['no name', ['Content-Disposition: form-data', 'x'], 'part 3', /^it has no name/],
    ['no headers', ['', 'x'], 'part 3', /^it has no readable header/],
    ['no disposition', ['Content-Type: text/plain', 'x'], 'part 3', /^it has no readable header/],
    ['a header that is none', ['nonsense', 'x'], 'part 3', /^it has no readable header/],
    [
      'an attachment',
      ['Content-Disposition: attachment; name="prompt"', 'x'],
      'part 3',
      /^its header must be/,
    ],
    [
      'two dispositions',
      [`${named('prompt')}\r\n${named('seed')}`, 'x'],
      'part 3',
      /more than one Content-Disp/,
    ],
    [
      'two names',
      ['Content-Disposition: form-data; name=prompt; name=seed', 'x'],
      'part 3',
      /more than one name/,
    ],
    [
      'a disposition without an end',
      ['Content-Disposition: form-data; name="prompt', 'x'],
      '"prompt',
      /^unknown field/,
    ],
    ['metadata that is no JSON', [named('metadata'), '{seed: 1}'], 'metadata', 'not valid JSON'],
    [
      'metadata that is an array',
      [named('metadata'), '[1]'],
      'metadata',
      /JSON object/,
      'an array',
    ],
    [
      'metadata that is a text',
      [named('metadata', json), '"seed"'],
      'metadata',
      /JSON object/,
      'seed',
    ],
    ['metadata that is null', [named('metadata'), 'null'], 'metadata', /JSON object/, 'null'],
    [
      'metadata of nested arrays',
      [named('metadata'), `${'['.repeat(30_000)}${']'.repeat(30_000)}`],
      'metadata',
      /JSON object/,
    ],
    [
      'a deep seed in metadata',
      [named('metadata'), `{"seed":${'['.repeat(30_000)}${']'.repeat(30_000)}}`],
      'metadata.seed',
      range,
      'an array',
    ],
    [
      'metadata of 100 kB',
      [named('metadata'), `{"prompt":"${'x'.repeat(100_000)}"}`],
      'metadata',
      'at most 65536 bytes',
    ],
    ['metadata that is binary', [named('metadata'), binary], 'metadata', /^binary/],
    [
      'metadata twice',
      [
        [named('metadata'), '{}'],
        [named('metadata'), '{}'],
      ],
      'metadata',
      'sent twice',
    ],
    [
      'an unknown option',
      [named('metadata'), '{"colour":"blue"}'],
      'metadata.colour',
      'unknown; the options are prompt, seed, priority',
    ],
    [
      'an option named __proto__',
      [named('metadata'), '{"__proto__":{"seed":1}}'],
      'metadata.__proto__',
      /^unknown/,
    ],
    [
      'an option twice',
      [named('metadata'), '{"seed":1,"s\\u0065ed":1}'],
      'metadata.seed',
      /^given twice/,
    ],
    [
      'a seed as text in metadata',
      [named('metadata'), '{"seed":"1"}'],
      'metadata.seed',
      range,
      '1',
    ],
    [
      'a seed of null in metadata',
      [named('metadata'), '{"seed":null}'],
      'metadata.seed',
      range,
      'null',
    ],
    [
      'a prompt of 5 in metadata',
      [named('metadata'), '{"prompt":5}'],
      'metadata.prompt',
      /expected string/,
      '5',
    ],
    [
      'a lone surrogate in metadata',
      [named('metadata'), '{"prompt":"\\ud83d"}'],
      'metadata.prompt',
      'not valid Unicode',
    ],
    [
      'a NUL in metadata',
      [named('metadata'), '{"prompt":"\\u0000"}'],
      'metadata.prompt',
      'no control characters',
    ],
    [
      'a seed also in metadata',
      [
        [named('seed'), '1'],
        [named('metadata'), '{"seed":1}'],
      ],
      'metadata.seed',
      /^sent twice/,
    ],
    [
      'a prompt after metadata',
      [
        [named('metadata'), '{"prompt":"x"}'],
        [named('prompt'), 'y'],
      ],
      'prompt',
      /^sent twice/,
    ],
  ])('%s', async (_what, parts, field, problem, found) => {
    const list = (Array.isArray(parts[0]) ? parts : [parts]) as RawPart[]
    const isMedium = list[0]?.[0].startsWith(named('image'))
    const { status, error } = await post(
      list.length === 1 && isMedium ? bodyOf([...list, voice]) : form(...list),
    )
    expect([status, error?.code]).toEqual([400, 'INVALID_REQUEST'])
    expect(error?.details.field).toBe(field)
    expect(error?.details.problem).toMatch(problem)
    expect(error?.message).toBe(`${field}: ${error?.details.problem}.`)
    if (found !== undefined) expect(error?.details.found).toBe(found)
  })

  it.each([
    ['a file name', 'portrait.jpg'],
    ['a URL', 'https://example.org/portrait.jpg'],
    ['Base64', `data:image/jpeg;base64,${image.toString('base64')}`],
  ])('a portrait that is %s', async (_what, text) => {
    const { status, error } = await post(bodyOf([[named('image'), text], voice]))
    expect([status, error?.code, error?.details.field]).toEqual([400, 'INVALID_REQUEST', 'image'])
    expect(error?.message).toContain('-F image=@FILE')
  })

  it('a file that was not chosen', async () => {
    const { error } = await post(bodyOf([[`${named('image')}; filename=""`, ''], voice]))
    expect(error).toMatchObject({ code: 'IMAGE_MISSING', details: { field: 'image' } })
    expect(error?.message).toContain('choose a file')
  })

  it('a file without a byte', async () => {
    const { error } = await post(bodyOf([[file('image'), ''], voice]))
    expect(error).toMatchObject({ code: 'IMAGE_UNREADABLE', details: { field: 'image' } })
    expect(error?.message).toContain('it is empty')
  })

  it('a file that is not in the form', async () => {
    expect((await post(bodyOf([voice]))).error?.details).toEqual({ field: 'image' })
    expect((await post(bodyOf(media.slice(0, 1)))).error?.details).toEqual({ field: 'audio' })
  })

  it.each(['seed', 'prompt', 'priority', 'metadata', 'image'])('%s in the URL', async (name) => {
    const { status, error } = await post(form(), {}, `?x=y&${name}=7`)
    expect([status, error?.code, error?.details.field]).toEqual([400, 'INVALID_REQUEST', name])
    expect(error?.message).toContain('not in the URL')
  })
})

describe('a body is refused with what is wrong with it', () => {
  const whole = form()
  it.each<[string, Buffer, string, RegExp]>([
    ['empty', Buffer.alloc(0), 'boundary=edge', /it is empty/],
    ['another boundary', whole, 'boundary=other', /its boundary is not in the body/],
    ['no boundary', whole, 'x=y', /names no boundary/],
    ['an empty boundary', whole, 'boundary=', /names no boundary/],
    ['a boundary outside ASCII', whole, 'boundary="édge"', /boundary has characters outside ASCII/],
    ['a long boundary', whole, `boundary=${'b'.repeat(300)}`, /boundary is longer than/],
    [
      'lines that end with LF',
      Buffer.from(
        bodyOf([[named('seed'), '1']])
          .toString()
          .replaceAll('\r\n', '\n'),
      ),
      'boundary=edge',
      /must end with CRLF/,
    ],
    [
      'no last boundary',
      bodyOf(media, { end: '' }),
      'boundary=edge',
      /it ends before its last boundary/,
    ],
    [
      'half of a portrait',
      bodyOf(media.slice(0, 1)).subarray(0, 1_000),
      'boundary=edge',
      /it ends before its last boundary/,
    ],
    [
      'half of a header',
      Buffer.from('--edge\r\nContent-Dispo'),
      'boundary=edge',
      /it ends before its last boundary/,
    ],
    [
      'headers without an end',
      Buffer.from('--edge\r\nContent-Dispo\r\n--edge--\r\n'),
      'boundary=edge',
      /headers of a part have no end/,
    ],
    ['JSON', Buffer.from('{}'), 'boundary=edge', /not in the body/],
  ])('%s', async (_what, body, parameters, problem) => {
    const { status, error } = await post(body, {
      'content-type': `multipart/form-data; ${parameters}`,
    })
    expect([status, error?.code]).toEqual([400, 'MALFORMED_MULTIPART'])
    expect(error?.message).toMatch(problem)
    expect(error?.details.problem).toMatch(problem)
  })

  it.each([
    ['application/json', '{"image":"x"}'],
    ['application/x-www-form-urlencoded', 'image=x'],
    ['text/plain', 'x'],
    ['multipart/mixed; boundary=edge', '--edge--'],
    ['image/jpeg', 'x'],
    ['nonsense', 'x'],
    ['multipart/form-data, text/plain', 'x'],
  ])('of the type %s', async (type, text) => {
    const { status, error } = await post(Buffer.from(text), { 'content-type': type })
    expect([status, error?.code]).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE'])
    expect(error?.details.field).toBe('Content-Type')
    expect(error?.details).toMatchObject({ found: type })
    expect(error?.details.example).toContain('curl')
    expect(error?.message).toContain('Content-Type')
  })

  it.each(['gzip', 'br', 'deflate', 'zstd', 'gzip, identity', 'x-unknown'])(
    'with Content-Encoding: %s',
    async (encoding) => {
      const { status, error } = await post(whole, { 'content-encoding': encoding })
      expect([status, error?.code]).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE'])
      expect(error?.message).toBe('Content-Encoding: send the body without compression.')
      expect(error?.details.found).toBe(encoding)
    },
  )
})

it('leaves nothing of any of them on the disk', async () => {
  await until(async () => (await world.spooled()).length === 0)
})
