import { createObjectStore } from '@avatar/service-kit'
import { expect, it, onTestFinished } from 'vitest'
import { createWorkerLinks } from './worker-links.ts'

const content = { bytes: 5, sha256: '0'.repeat(64), contentType: 'video/mp4' }

it.each([
  { pool: 'local', origin: 'http://s3:8333' },
  { pool: 'lab', origin: 'http://s3:8333' },
  { pool: undefined, origin: 'http://s3:8333' },
  { pool: 'runpod', origin: 'https://media.example' },
])('signs for $origin what a worker of the pool $pool reads and stores', async (its) => {
  // Signing asks nobody.
  const objects = createObjectStore({
    endpoint: 'http://s3:8333',
    publicEndpoint: 'https://media.example',
    accessKeyId: 'ours',
    secretAccessKey: 'secret',
    bucket: 'media',
  })
  onTestFinished(objects.stop)
  const links = createWorkerLinks({ objects, urlTtlSeconds: 60, localPools: ['local', 'lab'] })
  const read = new URL(await links.toRead('a/image', its.pool))
  const stored = new URL((await links.toStore('a/video', content, its.pool)).url)
  expect([read.origin, stored.origin]).toEqual([its.origin, its.origin])
  expect([read.pathname, stored.pathname]).toEqual(['/media/a/image', '/media/a/video'])
})
