/**
 * Renders the example and makes the README's animated picture of it: the portrait and the voice on
 * the left, the video that the system made of them on the right.
 *
 *   npm run picture
 */
import { execFileSync, type StdioOptions } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const picture = join(root, 'docs/talking-portrait.webp')
/** Everybody who opens the README downloads it. */
const maxBytes = 2_000_000

const folder = mkdtempSync(join(tmpdir(), 'readme-picture-'))
try {
  const video = join(folder, 'demo.mp4')
  run(process.execPath, ['cli/src/main.ts', 'demo', '--out', video])
  const ask = 'print(f.get_ffmpeg_exe(), f.count_frames_and_secs(sys.argv[1])[1], sep="\\n")'
  const script = `import sys, imageio_ffmpeg as f; ${ask}`
  const answer = run(join(root, '.venv/bin/python'), ['-c', script, video], 'pipe').toString()
  const [ffmpeg = '', seconds = ''] = answer.split('\n')
  run(ffmpeg, [
    ...['-v', 'error', '-y', '-i', video, '-loop', '1', '-i', 'examples/portrait.jpg'],
    ...['-filter_complex', filters(Number(seconds)), '-map', '[picture]'],
    ...['-c:v', 'libwebp_anim', '-quality', '65', '-compression_level', '4', '-loop', '0', picture],
  ])
} finally {
  rmSync(folder, { recursive: true })
}
const { size } = statSync(picture)
if (size > maxBytes) throw new Error(`${picture} has ${size} bytes, more than ${maxBytes}`)
console.log(`${picture}: ${size} bytes`)

/** The wave of the whole voice stands still; a line moves to where the voice is at that moment. */
function filters(seconds: number): string {
  return [
    '[0:v]fps=25,scale=440:440:flags=lanczos[film]',
    '[1:v]fps=25,scale=240:-1:flags=lanczos,crop=240:280[portrait]',
    '[0:a]volume=2,showwavespic=s=216x120:colors=0x58a6ff:scale=sqrt[wave]',
    'color=0x161b22:s=240x160:r=25[ground]',
    'color=white:s=2x136:r=25[line]',
    '[ground][wave]overlay=12:20[voice]',
    `[voice][line]overlay=x=12+214*t/${seconds}:y=12[spoken]`,
    '[portrait][spoken]vstack[given]',
    '[given][film]hstack=shortest=1[picture]',
  ].join(';')
}

function run(program: string, args: readonly string[], stdout: 'inherit' | 'pipe' = 'inherit') {
  const stdio: StdioOptions = ['ignore', stdout, 'inherit']
  return execFileSync(program, args, { cwd: root, stdio })
}
