import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { removeSeaweedSockets, renderS3Identities } from './seaweed.ts'

it('removes the sockets of the server with these ports, including gRPC, and of no other', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'avatar-sockets-'))
  const its = ['seaweedfs-s3-12001.sock', 'seaweedfs-volume-grpc-22002.sock']
  const others = ['other-12001.sock', 'seaweedfs-s3-1200.sock', 'seaweedfs-s3-grpc-32001.sock']
  for (const name of [...its, ...others]) await writeFile(join(folder, name), '')
  await removeSeaweedSockets([12_001, 12_002], folder)
  expect((await readdir(folder)).toSorted()).toEqual(others.toSorted())
  await removeSeaweedSockets([1], join(folder, 'none'))
  await rm(folder, { recursive: true })
})

it('opens a publisher its own folder of the store and nothing else', () => {
  const ours = { accessKeyId: 'a', secretAccessKey: 'b' }
  const text = renderS3Identities({ bucket: 'media', ours, publishers: { acme: ours } })
  const { identities } = JSON.parse(text) as { identities: { name: string; actions: string[] }[] }
  expect(identities.find(({ name }) => name === 'acme')?.actions).toEqual([
    'Read:media/intake/acme/*',
    'Write:media/intake/acme/*',
  ])
})
