import { mkdtemp, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { mountSmallDisk, type SmallDisk } from '../src/index.ts'

let folder: string
let disk: SmallDisk | undefined

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'avatar-small-disk-'))
  disk = await mountSmallDisk(join(folder, 'disk'), 4 * 2 ** 20)
})

afterAll(async () => {
  await disk?.unmount()
  await rm(folder, { recursive: true, force: true })
})

it('is full until there is room again', async ({ skip }) => {
  if (!disk) return skip('it takes the permission to mount')
  await disk.fill()
  const { bavail, bsize } = await statfs(disk.path)
  expect(bavail * bsize).toBeLessThanOrEqual(8_192)
  await expect(writeFile(join(disk.path, 'more'), Buffer.alloc(64_000))).rejects.toThrow('ENOSPC')
  await disk.makeRoom()
  await writeFile(join(disk.path, 'more'), Buffer.alloc(64_000))
})

it('is filled while others fill it, remove what fills it, and write', async ({ skip }) => {
  if (!disk) return skip('it takes the permission to mount')
  const { fill, makeRoom, path } = disk
  for (let round = 0; round < 50; round++) {
    const writing = writeFile(join(path, `other-${round % 3}`), Buffer.alloc(300_000))
    const all = [fill(), makeRoom(), fill(), writing.catch(() => undefined), makeRoom()]
    for (const { status, ...rest } of await Promise.allSettled(all))
      expect(status, JSON.stringify(rest)).toBe('fulfilled')
  }
  await makeRoom()
})
