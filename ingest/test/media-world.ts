import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { FailureCode } from '@avatar/contracts'
import { AppError, createLog } from '@avatar/service-kit'
import { expect } from 'vitest'
import { createMediaChecks, type MediaChecks } from '../src/media/media-checks.ts'
import { ffmpegPath } from './media-fixtures.ts'

type CheckOptions = Parameters<typeof createMediaChecks>[0]

/** A test's own folders, and checks that write there. */
export type MediaWorld = {
  readonly checks: MediaChecks
  readonly outDir: string
  readonly tempDir: string
  /** Writes an upload and returns its path. */
  upload(bytes: Buffer | string, name?: string): Promise<string>
  /** Expects the check to be refused with the code, leaving nothing behind. */
  refused(check: Promise<unknown>, code: FailureCode): Promise<AppError>
  /** Process ids of the living checkers. */
  checkerPids(): Promise<number[]>
  close(): Promise<void>
}

export async function createMediaWorld(options: Partial<CheckOptions> = {}): Promise<MediaWorld> {
  const home = await mkdtemp(join(tmpdir(), 'avatar-media-'))
  const [outDir, tempDir, inDir] = ['out', 'temp', 'in'].map((name) => join(home, name)) as [
    string,
    string,
    string,
  ] // map keeps the length.
  await Promise.all([outDir, inDir].map((dir) => mkdir(dir)))
  const checks = createMediaChecks({
    ...{ ffmpegPath, tempDir, log: createLog('test', 'silent') },
    ...options,
  })
  let uploads = 0

  return {
    checks,
    outDir,
    tempDir,
    async upload(bytes, name = 'upload.bin') {
      uploads += 1
      const path = join(inDir, `${uploads}-${name}`)
      await writeFile(path, bytes)
      return path
    },
    async refused(check, code) {
      const error: unknown = await check.then(
        () => undefined,
        (reason: unknown) => reason,
      )
      if (!(error instanceof AppError))
        throw new Error(`not refused with ${code}`, { cause: error })
      expect({ code: error.code, cause: String(error.cause) }).toMatchObject({ code })
      expect(await readdir(outDir)).toEqual([])
      return error
    },
    checkerPids: () => pidsNaming(join(tempDir, 'checker-')),
    async close() {
      await checks.stop()
      const survivors = await pidsNaming(home)
      await rm(home, { recursive: true, force: true })
      expect(survivors).toEqual([])
    },
  }
}

/** Process ids of everything whose command line contains `text`. */
export async function pidsNaming(text: string): Promise<number[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-ww', '-o', 'pid=,stat=,args='])
  return stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, state, ...args]) => !state?.startsWith('Z') && args.join(' ').includes(text))
    .map(([pid]) => Number(pid))
}
