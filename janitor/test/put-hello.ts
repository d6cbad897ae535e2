import { randomUUID } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ObjectStore } from '@avatar/service-kit'

const helloSha256 = '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824'

/** Stores an object of five bytes. */
export async function putHello(objects: ObjectStore, key: string): Promise<void> {
  const path = join(tmpdir(), `avatar-${randomUUID()}`)
  await writeFile(path, 'hello')
  await objects.putFile(key, path, 5, helloSha256)
  await rm(path)
}
