import type { CheckBounds } from './check-bounds.ts'
import { runFfmpeg } from './run-ffmpeg.ts'

/** A normalised recording, and when it begins in the delivered sound. */
export type Piece = { path: string; startSeconds: number }

/** Of sound that is put together of two recordings, which may differ in theirs. */
const commonSampleRate = 48_000

/** Padding reaches past the end by this much, so that the cut alone decides on the last sample. */
const paddingSeconds = 1

/**
 * Writes the delivered sound: the recordings where they belong, silence elsewhere, cut or filled to the
 * given length. One recording keeps its samples, its rate and its channels. Two are summed; a limiter
 * acts only where the sum passes full scale.
 *
 * @throws what `runFfmpeg` throws
 */
export async function composeAudio(request: {
  ffmpegPath: string
  pieces: readonly Piece[]
  seconds: number
  out: string
  workingDir: string
  bounds: CheckBounds
  signal: AbortSignal
}): Promise<void> {
  const { ffmpegPath, pieces, seconds, out, workingDir, bounds, signal } = request
  const isMixed = pieces.length > 1
  const common = `aresample=${commonSampleRate},aformat=sample_fmts=flt:channel_layouts=mono|stereo`
  const placed = pieces.map(({ startSeconds }, at) => {
    const delay = startSeconds > 0 ? [`adelay=delays=${startSeconds}s:all=1`] : []
    const filters = [...(isMixed ? [common] : []), ...delay]
    return `[${at}:a]${filters.length > 0 ? filters.join(',') : 'anull'}[p${at}]`
  })
  const labels = pieces.map((_piece, at) => `[p${at}]`).join('')
  const sum = isMixed
    ? 'amix=inputs=2:duration=longest:normalize=0,alimiter=limit=1:level=0:latency=1,'
    : ''
  // The cut goes by timestamps, and `amix` now and then begins with those of the later recording. Padding
  // without an end would then be written until the disk, or the limit of the file, is full.
  const filled = `asetpts=N/SR/TB,apad=whole_dur=${seconds + paddingSeconds},atrim=end=${seconds}`
  const graph = `${placed.join(';')};${labels}${sum}${filled}[out]`
  await runFfmpeg({
    ffmpegPath,
    args: [
      ...['-protocol_whitelist', 'file,pipe', '-filter_threads', '1'],
      ...pieces.flatMap(({ path }) => ['-f', 'wav', '-i', `file:${path}`]),
      ...['-filter_complex', graph, '-map', '[out]', '-map_metadata', '-1', '-bitexact'],
      ...['-c:a', 'pcm_s16le', '-f', 'wav', `file:${out}`],
    ],
    workingDir,
    bounds: {
      cpuSeconds: bounds.decoderCpuSeconds,
      memoryBytes: bounds.decoderMemoryBytes,
      fileBytes: bounds.fileBytes,
      wallMs: bounds.audioWallMs,
    },
    unreadable: 'AUDIO_UNREADABLE',
    signal,
  })
}
