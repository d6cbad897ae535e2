import { execFile } from 'node:child_process'
import { globSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const root = resolve(import.meta.dirname, '../..')
const ffmpeg =
  process.env['FFMPEG_PATH'] ??
  globSync(join(root, '.venv/lib/python3*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*'))[0] ??
  'ffmpeg'

/** An MP4 that shows a picture; with `cutAtSeconds`, upside down from there on. */
export async function film(options: {
  picture: string
  seconds: number
  cutAtSeconds?: number
}): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'avatar-film-'))
  try {
    const path = join(folder, 'film.mp4')
    const { picture, seconds, cutAtSeconds } = options
    const cut =
      cutAtSeconds === undefined
        ? ''
        : `,vflip=enable='gte(t,${cutAtSeconds})',negate=enable='gte(t,${cutAtSeconds})'`
    const still = ['-nostdin', '-v', 'error', '-loop', '1', '-framerate', '25']
    const made = ['-vf', `scale=512:600${cut}`, '-pix_fmt', 'yuv420p', path]
    await run(ffmpeg, [...still, '-t', String(seconds), '-i', picture, ...made])
    return await readFile(path)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
