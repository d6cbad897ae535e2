import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { filesLeftBehind } from './left-behind.ts'

it('names the files of our tests, but not those of the test runners', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'avatar-left-'))
  await mkdir(join(folder, 'avatar-ingest-x'))
  await mkdir(join(folder, 'pytest-of-root'))
  const named = await filesLeftBehind(folder)
  await rm(folder, { recursive: true })
  expect(named).toEqual([`The tests left ${join(folder, 'avatar-ingest-x')} behind`])
})
