import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { deliveryBuckets, framesPerSecond, limits, priorities } from '@avatar/contracts'
import type { GeneratedFiles } from './generated-files.ts'

const root = join(import.meta.dirname, '../..')
const begin = '<!-- Written by npm run generate from contracts/src/limits.ts. -->'
const end = '<!-- End of what npm run generate writes. -->'

/** The table of limits in `README.md` and `docs/api.md`, between two comments. */
export async function writeLimits(): Promise<GeneratedFiles> {
  const files = ['README.md', 'docs/api.md'].map(async (path) => {
    const page = await readFile(join(root, path), 'utf8')
    const [from, to] = [page.indexOf(begin), page.indexOf(end)]
    if (from < 0 || to < from) throw new Error(`${path} has no place for the table of limits`)
    const content = `${page.slice(0, from + begin.length)}\n\n${table()}\n\n${page.slice(to)}`
    return [path, content] as const
  })
  return Object.fromEntries(await Promise.all(files))
}

function table(): string {
  const sizes = deliveryBuckets.map(({ width, height }) => `${width}×${height}`)
  const rows: [what: string, limit: string][] = [
    [
      'portrait',
      `PNG or JPEG with one picture and one face, at most ${megabytes(limits.imageMaxBytes)}`,
    ],
    [
      'its size',
      `sides of ${limits.imageMinSidePixels} to ${limits.imageMaxSidePixels} pixels and at most ${limits.imageMaxPixels / 1e6} megapixels; scaled down to ${limits.imageUsedSidePixels} pixels on its longest side`,
    ],
    ['its transparency', `is put on ${limits.imageBackground.name}`],
    ['its colours', 'are converted to sRGB with 8 bits'],
    ['voice', `WAV or MP3, at most ${megabytes(limits.audioMaxBytes)}`],
    [
      'its length',
      `${limits.audioMinSeconds} to ${limits.audioMaxSeconds} seconds; under ${limits.audioShortSeconds} second with a warning`,
    ],
    [
      'source video',
      `MP4, MOV or WebM, at most ${megabytes(limits.videoMaxBytes)} and ${limits.videoMaxSeconds} seconds, sides of ${limits.videoMinSidePixels} to ${limits.videoMaxSidePixels} pixels`,
    ],
    ['prompt', `at most ${limits.promptMaxCharacters} characters`],
    ['seed', `0 to ${limits.seedMax}`],
    ['priority', priorities.join(' or ')],
    ['request', `at most ${megabytes(limits.bodyMaxBytes)} in all`],
    [
      'video',
      `${framesPerSecond} frames per second in ${sizes.slice(0, 3).join(', ')}, whichever is nearest to the portrait; by \`aspect\` also in ${sizes.slice(3).join(', ')}`,
    ],
  ]
  return ['| what | limit |', '| --- | --- |', ...rows.map((row) => `| ${row.join(' | ')} |`)].join(
    '\n',
  )
}

/** 1 MB is 2^20 bytes, as in the messages of the API. */
function megabytes(bytes: number): string {
  return `${bytes / 2 ** 20} MB`
}
