import { access, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AppError, createLog } from '@avatar/service-kit'
import { until } from '@avatar/service-kit/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createUploadSpool, type UploadSpool } from './upload-spool.ts'

let directory: string
let spool: UploadSpool

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'avatar-spool-'))
  spool = createUploadSpool(directory, createLog('test', 'silent'))
})

afterEach(() => rm(directory, { recursive: true, force: true }))

describe('the upload spool', () => {
  it('removes the folder whether the work succeeds or fails', async () => {
    await spool.withFolder((folder) => writeFile(join(folder, 'image'), 'x'))
    await until(async () => (await readdir(directory)).length === 0)
    const failing = spool.withFolder(async (folder) => {
      await writeFile(join(folder, 'image'), 'x')
      throw new AppError('INVALID_IMAGE_FORMAT')
    })
    await expect(failing).rejects.toMatchObject({ code: 'INVALID_IMAGE_FORMAT' })
    expect(await readdir(directory)).toEqual([])
  })

  it('removes what a killed process left when it is wiped', async () => {
    await mkdir(join(directory, 'left'))
    await spool.wipe()
    expect(await readdir(directory)).toEqual([])
  })

  it('keeps the outcome when a folder cannot be removed, and logs that', async () => {
    const lines: string[] = []
    const log = createLog('test', 'info', {
      destination: { write: (line) => void lines.push(line) },
    })
    const made = createUploadSpool(directory, log).withFolder(async () => {
      await rm(directory, { recursive: true })
      await writeFile(directory, 'now a file')
      return 'made'
    })
    expect(await made).toBe('made')
    await until(() => lines.length > 0)
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      ...{ level: 'error', code: 'UNEXPECTED', msg: 'upload folder not removed' },
    })
  })

  // Every write to /dev/full fails as on a full disk.
  it.runIf(process.platform === 'linux')(
    'removes leftovers on a full disk, keeps what is in use, and fails with STORAGE_FULL',
    async () => {
      await mkdir(join(directory, 'left'))
      await spool.withFolder(async (inUse) => {
        const full = spool.withFolder(() => writeFile('/dev/full', 'x'))
        await expect(full).rejects.toMatchObject({ code: 'STORAGE_FULL' })
        await access(inUse)
        expect(await readdir(directory)).toHaveLength(1)
      })
    },
  )

  it.each([
    ['a media check without room', new AppError('STORAGE_FULL')],
    [
      'a store client that wraps the error',
      new AppError('STORE_UNAVAILABLE', {
        cause: Object.assign(new Error('no room'), { code: 'ENOSPC' }),
      }),
    ],
  ])('recognises a full disk behind the error of %s', async (_who, error) => {
    await mkdir(join(directory, 'left'))
    const full = spool.withFolder(() => Promise.reject(error))
    await expect(full).rejects.toMatchObject({ code: 'STORAGE_FULL' })
    expect(await readdir(directory)).toEqual([])
  })
})
