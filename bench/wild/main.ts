/**
 * Sends odd inputs and requests to the real system, and prints what became of each.
 *
 *   npm run bench:wild -- FOLDER                   every file of a folder, and the list of requests
 *   npm run bench:wild -- FOLDER --engine null     admission alone; by default `preview` renders
 *   npm run bench:wild -- FOLDER --videos DIR      keeps the videos there
 *
 * A file is sent as the portrait or as the voice, by its extension, together with the example's other
 * half. Exits with 1 if a request of the list was not answered as it should be.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { type System, startSystem } from '../../tests/harness/index.ts'
import { requestCases } from './request-cases.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { engine: { type: 'string', default: 'preview' }, videos: { type: 'string' } },
})
const [folder] = positionals
const examples = join(import.meta.dirname, '../../examples')
const images = new Set(['.jpg', '.jpeg', '.png', '.webp', '.gif', '.bmp', '.heic', '.avif'])

/** Words, not numbers: aligned columns would be as wide as the longest message. */
const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |\n`).join('')

type Accepted = {
  data: { job_id: string; audio_seconds: number }
  meta: { warnings?: { code: string }[] }
}

const system = await startSystem({ env: { ENGINE: values.engine, LOG_LEVEL: 'warn' } })
try {
  const key = await system.createKey('wild')
  if (folder) {
    const files = (await readdir(folder)).sort()
    const rows: string[][] = []
    for (const file of files) {
      rows.push([file, ...(await outcomeOf(system, key, join(folder, file)))])
      process.stderr.write(`${rows.at(-1)?.join(' | ')}\n`)
    }
    process.stdout.write(`${table(['input', 'answer', 'warnings', 'became'], rows)}\n`)
  }
  const rows: string[][] = []
  for (const [name, wanted, send] of requestCases) {
    const seen = await send({ system, key }).catch((error: unknown) => String(error))
    if (!seen.startsWith(wanted)) process.exitCode = 1
    rows.push([name, seen.startsWith(wanted) ? 'yes' : `NO, wanted ${wanted}`, seen])
  }
  process.stdout.write(table(['request', 'as it should', 'answer'], rows))
} finally {
  await system.stop()
}

/** The answer's status and code, the warnings, and what became of an accepted job. */
async function outcomeOf(system: System, key: string, path: string): Promise<string[]> {
  const client = system.clientWith(key)
  const isImage = images.has(extname(path).toLowerCase())
  const content = new Blob([await readFile(path)])
  const form = new FormData()
  form.set('image', isImage ? content : new Blob([await readFile(join(examples, 'portrait.jpg'))]))
  form.set('audio', isImage ? new Blob([await readFile(join(examples, 'voice.wav'))]) : content)
  const answer = await client.send('/generate', { method: 'POST', body: form })
  if (answer.status >= 300) {
    const { error } = answer.body as { error: { code: string; message: string; details: object } } // Printed, not used.
    return [
      `${answer.status} ${error.code}`,
      '',
      `${error.message} ${JSON.stringify(error.details)}`.replaceAll('|', '/'),
    ]
  }
  const { data, meta } = answer.body as Accepted // Printed, not used.
  const isOver = ({ status }: { status: string }) =>
    ['completed', 'failed', 'cancelled'].includes(status)
  const view = await client.untilView(data.job_id, isOver, 300_000)
  const warnings = (meta.warnings ?? []).map(({ code }) => code).join(', ')
  if (view.status !== 'completed')
    return [
      `${answer.status}`,
      warnings,
      `${view.status}: ${view.error?.code} ${view.error?.message}`,
    ]
  const { video_seconds } = await client.result(data.job_id)
  if (values.videos) {
    await mkdir(values.videos, { recursive: true })
    const name = `${path.split('/').at(-1)}.mp4`
    await writeFile(join(values.videos, name), await client.download(data.job_id))
  }
  return [
    `${answer.status}`,
    warnings,
    `${video_seconds.toFixed(2)} s of video for ${data.audio_seconds.toFixed(2)} s of sound`,
  ]
}
