import { access, constants, rm } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { type FailureCode, limits } from '@avatar/contracts'
import { AppError, asAppError, type Log } from '@avatar/service-kit'
import { type CheckedAudio, checkAudioFile } from './audio-check.ts'
import { type CheckBounds, checkBounds } from './check-bounds.ts'
import { createCheckerPool, MediumTooCostly } from './checker-pool.ts'
import { gatedWavSchema, plainWavSchema } from './checker-protocol.ts'
import { composeAudio, type Piece } from './compose-audio.ts'
import type { Span } from './gate-wav.ts'
import { type CheckedImage, checkImageFile } from './image-check.ts'
import { type CheckedVideo, checkVideoFile } from './video-check.ts'

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
  let stopping = new AbortController()
  /** One video at a time: each takes two cores for up to minutes. */
  let videoTurn: Promise<unknown> = Promise.resolve()

  return {
    async start() {
      // What the children of a killed process left. At a second start it would be our own children's.
      if (stopping.signal.aborted) stopping = new AbortController()
      wiped ??= rm(tempDir, { recursive: true, force: true })
      await wiped
      await access(ffmpegPath, constants.X_OK).catch((cause) => {
        throw new AppError('UNEXPECTED', { cause, details: { ffmpegPath } })
      })
      await pool.start()
    },

    async stop() {
      stopping.abort()
      await videoTurn
      await pool.stop()
    },

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

    /** Puts the delivered sound together of recordings that passed. */
    compose(pieces: readonly Piece[], seconds: number, outDir: string): Promise<ComposedAudio> {
      const out = resolve(outDir, 'delivered.wav')
      const mixed = resolve(outDir, 'delivered.mixed.wav')
      return pool.use((checker) =>
        tidily({ out, unreadable: 'AUDIO_UNREADABLE' }, async () => {
          const { signal } = checker
          const request = { ffmpegPath, pieces, seconds, workingDir: resolve(outDir), bounds }
          await composeAudio({ ...request, out: mixed, signal })
          const maxSeconds = limits.audioMaxSeconds + 1
          const asked = { op: 'normalisePcmWav', path: mixed, out, maxSeconds, levels } as const
          const wav = await checker.ask(asked, plainWavSchema, bounds.audioWallMs)
          if (!wav) throw new AppError('UNEXPECTED')
          const { bytes, sha256, samples, sampleRate } = wav
          return { path: out, bytes, sha256, seconds: samples / sampleRate }
        }),
      )
    },

    /** A copy of a recording that passed, silent outside of these spans. */
    gate(
      path: string,
      spans: readonly Span[],
      name: string,
    ): Promise<Omit<ComposedAudio, 'seconds'>> {
      const out = `${path}.${name}.wav`
      return pool.use((checker) =>
        tidily({ out, unreadable: 'AUDIO_UNREADABLE' }, async () => {
          const asked = { op: 'gateWav', path, out, spans } as const
          return { path: out, ...(await checker.ask(asked, gatedWavSchema, bounds.audioWallMs)) }
        }),
      )
    },

    /** The same as for images, for a video. Its first frame is checked as the image of the job. */
    checkVideo(path: string, outDir: string, signal?: AbortSignal): Promise<CheckedVideo> {
      const out = resolve(outDir, 'source.mp4')
      const check = { path: resolve(path), out, firstFrame: resolve(outDir, 'first-frame.png') }
      const turn = videoTurn.then(() => {
        signal?.throwIfAborted()
        return tidily({ out, unreadable: 'VIDEO_UNREADABLE' }, () => {
          const shared = { ffmpegPath, workingDir: resolve(outDir), bounds }
          return checkVideoFile({ ...check, ...shared, signal: stopping.signal })
        })
      })
      videoTurn = turn.catch(() => undefined)
      return turn
    },
  }
}

/** A recording that was made of others. */
export type ComposedAudio = { path: string; bytes: number; sha256: string; seconds: number }

const levels = { silentPeak: limits.audioSilentPeak, quietPeak: limits.audioQuietPeak }

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
