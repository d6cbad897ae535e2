import { access, constants, rm } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import type { FailureCode } from '@avatar/contracts'
import { AppError, asAppError, type Log } from '@avatar/service-kit'
import { type CheckedAudio, checkAudioFile } from './audio-check.ts'
import { type CheckBounds, checkBounds } from './check-bounds.ts'
import { createCheckerPool, MediumTooCostly } from './checker-pool.ts'
import { type CheckedImage, checkImageFile } from './image-check.ts'

export type MediaChecks = ReturnType<typeof createMediaChecks>

/**
 * Checks uploaded media by their content, never by name or Content-Type. Each check runs in a child
 * process under limits of CPU, memory, file size and wall clock, at most `concurrency` at once.
 *
 * Every fault of a medium is an AppError with its code (400). STORAGE_FULL (503) means a full disk,
 * DRAINING (503) a check after `stop`, UNEXPECTED (500) a child that cannot start. `start` warms the
 * children up and looks for ffmpeg; without it, the first checks start the children.
 */
export function createMediaChecks(options: {
  /** Absolute, because the children have no PATH. */
  ffmpegPath: string
  /** Where the children keep temporary files. */
  tempDir: string
  concurrency?: number
  log: Log
  bounds?: Partial<CheckBounds>
}) {
  const { ffmpegPath, concurrency = 2, log } = options
  // Absolute, because the children have working directories of their own.
  const tempDir = resolve(options.tempDir)
  const bounds: CheckBounds = { ...checkBounds, ...options.bounds }
  const pool = createCheckerPool({ concurrency, tempDir, bounds, log })
  let wiped: Promise<void> | undefined

  return {
    async start() {
      // What the children of a killed process left. At a second start it would be our own children's.
      wiped ??= rm(tempDir, { recursive: true, force: true })
      await wiped
      await access(ffmpegPath, constants.X_OK).catch((cause) => {
        throw new AppError('UNEXPECTED', { cause, details: { ffmpegPath } })
      })
      await pool.start()
    },

    stop: () => pool.stop(),

    /**
     * Checks an uploaded image by its content and writes the normalised one into `outDir`, named after
     * it. When it throws, it leaves nothing there. A check whose signal aborts before its turn does not begin.
     */
    checkImage(path: string, outDir: string, signal?: AbortSignal): Promise<CheckedImage> {
      const out = resolve(outDir, `${basename(path)}.normalised`)
      const check = { path: resolve(path), out, bounds }
      return pool.use((checker) => {
        signal?.throwIfAborted()
        return tidily({ out, unreadable: 'IMAGE_UNREADABLE' }, () => checkImageFile(checker, check))
      })
    },

    /** The same for audio. */
    checkAudio(path: string, outDir: string, signal?: AbortSignal): Promise<CheckedAudio> {
      const out = resolve(outDir, `${basename(path)}.normalised.wav`)
      const [repaired, decoded] = ['repaired', 'decoded'].map((name) =>
        resolve(outDir, `${basename(path)}.${name}.wav`),
      ) as [string, string] // map keeps the length.
      const workingDir = resolve(outDir)
      const check = { path: resolve(path), out, repaired, decoded, ffmpegPath, workingDir, bounds }
      return pool.use((checker) => {
        signal?.throwIfAborted()
        return tidily({ out, unreadable: 'AUDIO_UNREADABLE' }, () => checkAudioFile(checker, check))
      })
    },
  }
}

/** Removes `out` unless the check passed. A medium that costs too much counts as unreadable. */
async function tidily<T>(
  files: { out: string; unreadable: FailureCode },
  check: () => Promise<T>,
): Promise<T> {
  try {
    return await check()
  } catch (error) {
    await rm(files.out, { force: true })
    if (error instanceof MediumTooCostly) {
      const message = 'The file takes too long or too much memory to decode; export it again.'
      throw new AppError(files.unreadable, { cause: error, message })
    }
    throw asAppError(error)
  }
}
