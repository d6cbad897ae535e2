import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTestS3, type TestS3 } from '@avatar/backing-services/testing'
import { timings } from '@avatar/contracts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  createObjectStore,
  type ListedObject,
  type ObjectStore,
  objectStoreOf,
  Secret,
  systemClock,
} from '../src/index.ts'
import { until } from '../testing/index.ts'

let s3: TestS3
let store: ObjectStore
let folder: string
const away = { code: 'STORE_UNAVAILABLE' }

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-objects-'))
  s3 = await createTestS3()
  await s3.start()
  store = createObjectStore(s3)
})

afterAll(async () => {
  store.stop()
  await s3.stop()
  await rm(folder, { recursive: true })
})

const sha256 = (content: string) => createHash('sha256').update(content).digest('hex')

async function put(key: string, content: string, sum = sha256(content)) {
  const path = join(folder, sha256(key))
  await writeFile(path, content)
  await store.putFile(key, path, Buffer.byteLength(content), sum)
}

async function listed(from: ObjectStore, prefix: string) {
  const objects: ListedObject[] = []
  for await (const object of from.list(prefix)) objects.push(object)
  return objects
}

const keysUnder = async (prefix: string) => (await listed(store, prefix)).map(({ key }) => key)

describe('an object', () => {
  it('that is not found at once is looked for again', async () => {
    const path = join(folder, 'late')
    for (const look of [
      (late: ObjectStore) => late.head('a/late-head'),
      (late: ObjectStore) => late.getFile('a/late-file', path, 100),
    ]) {
      const waited: number[] = []
      const clock = {
        ...systemClock,
        async wait(ms: number) {
          waited.push(ms)
          for (const key of ['a/late-head', 'a/late-file']) await put(key, 'late')
        },
      }
      const late = createObjectStore({ ...s3, clock })
      expect(await look(late)).toBeDefined()
      expect(waited).toHaveLength(1)
      late.stop()
      await store.deletePrefix('a/late')
    }
  })

  it('is stored unchanged, and its head gives length and checksum', async () => {
    await put('a/hello', 'hello')
    expect(await store.head('a/hello')).toEqual({ bytes: 5, sha256: sha256('hello') })
    const [found] = await listed(store, 'a/')
    expect(found).toMatchObject({ key: 'a/hello', bytes: 5 })
    expect(Math.abs(Date.now() - (found?.modifiedAtMs ?? 0))).toBeLessThan(60_000)
  })

  it('is not stored when it differs from what was announced', async () => {
    await expect(put('b/wrong', 'hello', sha256('other'))).rejects.toMatchObject(away)
    expect(await store.head('b/wrong')).toBeUndefined()
  })

  it('is read up to the limit, and one byte further to show that there is more', async () => {
    await put('c/ten', '0123456789')
    const path = join(folder, 'read')
    expect(await store.getFile('c/ten', path, 20)).toBe(10)
    expect(await store.getFile('c/ten', path, 4)).toBe(5)
    expect(await readFile(path, 'utf8')).toBe('01234')
    await put('c/empty', '')
    expect(await store.getFile('c/empty', path, 4)).toBe(0)
    expect(await readFile(path, 'utf8')).toBe('')
    expect(await store.getFile('c/none', path, 4)).toBeUndefined()
  })

  it('is deleted alone or by prefix, and deleting a missing one succeeds', async () => {
    await Promise.all([1, 2, 3].map((n) => put(`d/x/${n}`, 'x')))
    await put('d/y', 'y')
    await store.delete('d/x/1')
    await store.delete('d/x/1')
    expect((await store.deletePrefix('d/x/')).map(({ key }) => key)).toHaveLength(2)
    expect(await store.deletePrefix('d/x/')).toEqual([])
    expect(await keysUnder('d/')).toEqual(['d/y'])
  })

  it('is listed across pages', async () => {
    const keys = Array.from({ length: 1_010 }, (_, n) => `e/${String(n).padStart(4, '0')}`)
    for (let at = 0; at < keys.length; at += 50)
      await Promise.all(keys.slice(at, at + 50).map((key) => put(key, 'x')))
    expect(await keysUnder('e/')).toEqual(keys)
  })
})

describe('the time', () => {
  it('of links and listings is that of the store, whatever our clock says', async () => {
    const clock = { ...systemClock, nowMs: () => Date.now() - 20 * 60_000 }
    const late = createObjectStore({ ...s3, clock })
    await put('g/video', 'video')
    const listed = async () => {
      for await (const { modifiedAtMs, listedAtMs } of late.list('g/'))
        return { modifiedAtMs, listedAtMs }
      throw new Error('nothing listed')
    }
    const { modifiedAtMs, listedAtMs } = await listed()
    expect(Math.abs(listedAtMs - Date.now())).toBeLessThan(60_000)
    expect(Math.abs(listedAtMs - modifiedAtMs)).toBeLessThan(60_000)
    expect(await (await fetch(await late.presignGet('g/video', 600))).text()).toBe('video')
    late.stop()
  })
})

describe('a link', () => {
  const asVideo = { contentType: 'video/mp4', disposition: 'inline', fileName: 'mine.mp4' } as const

  it.each([
    ['plays', 'GET', 'inline'],
    ['saves', 'GET', 'attachment'],
    ['inspects', 'HEAD', 'inline'],
  ] as const)('%s one object under a type and a name', async (_use, method, disposition) => {
    await put('f/typed', 'video')
    const url = await store.presignLink('f/typed', 60, { ...asVideo, method, disposition })
    const answer = await fetch(url, { method })
    expect(answer.status).toBe(200)
    expect(await answer.text()).toBe(method === 'HEAD' ? '' : 'video')
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'video/mp4',
      'content-length': '5',
      'content-disposition': `${disposition}; filename="mine.mp4"`,
    })
    const otherMethod = method === 'HEAD' ? 'GET' : 'HEAD'
    expect((await fetch(url, { method: otherMethod })).status).toBe(403)
  })

  it('works until it expires, and for nothing once it is altered', async () => {
    await put('f/video', 'video')
    const url = await store.presignLink('f/video', 60, asVideo)
    expect((await fetch(url.replace('f/video', 'f/other'))).status).toBe(403)
    const short = await store.presignGet('f/video', 1)
    await until(async () => (await fetch(short)).status === 403, { timeoutMs: 5_000 })
  })

  it('names the public address of the store for clients, and the one asked for to workers', async () => {
    const publicEndpoint = 'https://media.example'
    const split = createObjectStore({ ...s3, publicEndpoint })
    const link = await split.presignLink('f/video', 60, asVideo)
    expect(new URL(link).origin).toBe(publicEndpoint)
    const inner = await split.presignGet('f/video', 60)
    expect(new URL(inner).origin).toBe(s3.endpoint)
    expect((await fetch(inner)).status).toBe(200)
    const content = { bytes: 5, sha256: sha256('hello'), contentType: 'video/mp4' }
    const elsewhere = [
      await split.presignGet('f/video', 60, 'public'),
      (await split.presignPut('f/out', content, 60, 'public')).url,
    ]
    for (const url of elsewhere) expect(new URL(url).origin).toBe(publicEndpoint)
    split.stop()
  })

  it('stores exactly the content that it was signed for, and only once', async () => {
    const content = { bytes: 5, sha256: sha256('hello'), contentType: 'video/mp4' }
    const grant = await store.presignPut('g/out', content, 60)
    const send = (body: string, difference: Record<string, string> = {}) => {
      const { 'content-length': _, ...headers } = { ...grant.headers, ...difference }
      return fetch(grant.url, { method: 'PUT', body, headers })
    }
    expect((await send('jello')).status).toBe(400)
    expect((await send('hello world')).status).toBe(403)
    expect((await send('hello', { 'content-type': 'text/html' })).status).toBe(403)
    expect(await store.head('g/out')).toBeUndefined()
    expect((await send('hello')).status).toBe(200)
    expect((await send('hello')).status).toBe(412)
    expect((await store.head('g/out'))?.sha256).toBe(sha256('hello'))
    const stored = await fetch(await store.presignGet('g/out', 60))
    expect(stored.headers.get('content-type')).toBe('video/mp4')
  })
})

describe('a store', () => {
  it('without our bucket counts as unavailable, not as empty', async () => {
    const lost = createObjectStore({ ...s3, bucket: 'no-such-bucket' })
    const path = join(folder, 'lost')
    expect(await lost.isReachable()).toBe(false)
    await expect(lost.head('a/hello')).rejects.toMatchObject(away)
    await expect(lost.getFile('a/hello', path, 9)).rejects.toMatchObject(away)
    await expect(listed(lost, '')).rejects.toMatchObject(away)
    await expect(lost.deletePrefix('a/')).rejects.toMatchObject(away)
    lost.stop()
  })

  it('gets our bucket when it has none, and keeps an existing one', async () => {
    const fresh = createObjectStore({ ...s3, bucket: 'made-on-demand' })
    expect(await fresh.isReachable()).toBe(false)
    expect(await fresh.ensureBucket()).toBe(true)
    await writeFile(join(folder, 'kept'), 'hello')
    await fresh.putFile('a/kept', join(folder, 'kept'), 5, sha256('hello'))
    expect(await fresh.ensureBucket()).toBe(true)
    expect((await fresh.head('a/kept'))?.bytes).toBe(5)
    fresh.stop()
  })

  it('that refuses our credentials counts as unavailable', async () => {
    const config = {
      S3_ENDPOINT: s3.endpoint,
      R2_ACCESS_KEY_ID: s3.accessKeyId,
      R2_SECRET_ACCESS_KEY: new Secret('wrong'),
      R2_BUCKET_NAME: s3.bucket,
    }
    const stranger = objectStoreOf(config, timings)
    expect(await stranger.isReachable()).toBe(false)
    await expect(stranger.head('a/hello')).rejects.toMatchObject(away)
    stranger.stop()
  })

  it('costs only time when it comes back between tries, and a stalled call ends with its signal', async () => {
    await s3.kill()
    const reading = store.getFile('a/hello', join(folder, 'back'), 9).catch((error) => error)
    expect(await reading).toMatchObject(away)
    expect(await store.isReachable()).toBe(false)
    expect(await store.ensureBucket()).toBe(false)
    await s3.start()
    expect(await store.isReachable()).toBe(true)
    process.kill(s3.pid(), 'SIGSTOP')
    const path = join(folder, 'stalled')
    await writeFile(path, 'hello')
    const signal = AbortSignal.timeout(500)
    const putting = store.putFile('h/stalled', path, 5, sha256('hello'), signal)
    await expect(putting).rejects.toMatchObject(away)
    process.kill(s3.pid(), 'SIGCONT')
  })
})
