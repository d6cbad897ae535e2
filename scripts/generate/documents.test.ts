import { execFileSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { writeAlerts } from './alerts.ts'
import { writeConfiguration } from './configuration.ts'
import { writeJobStates } from './job-states.ts'
import { writeLimits } from './limits.ts'

const root = join(import.meta.dirname, '../..')
const configuration = writeConfiguration()

const limits = await writeLimits()

const pages = { ...writeJobStates(), ...writeAlerts(), ...configuration, ...limits }

it.each(Object.entries(pages))('%s is what its sources generate', async (path, content) => {
  expect(await readFile(join(root, path), 'utf8')).toBe(content)
})

it('the tables of limits name those of portraits', () => {
  for (const page of Object.values(limits)) {
    expect(page).toContain('at most 40 megapixels')
    expect(page).toContain('| its transparency | is put on white |')
  }
})

it('.env.example leaves uncommented only what has no default and must be given', () => {
  const example = configuration['.env.example']
  expect(example).toMatch(/^NATS_URL=$/m)
  expect(example).toMatch(/^# LOG_LEVEL=info$/m)
  expect(example).toMatch(/^# R2_ACCOUNT_ID=$/m)
  // Read by the sidecar alone, and only when ENGINE names its engine.
  expect(example).toMatch(/^# MODEL_STORAGE_PATH=$/m)
})

it('names the file that a secret may come from, and none for what is no secret', () => {
  const files = Object.values(configuration).map((text) =>
    [...new Set(text.match(/\w+_FILE\b/g))].filter((name) => name !== 'NAME_FILE'),
  )
  const secrets = [
    'NATS_PASSWORD_FILE',
    'R2_SECRET_ACCESS_KEY_FILE',
    'OTEL_EXPORTER_OTLP_HEADERS_FILE',
    'RUNPOD_API_KEY_FILE',
  ]
  expect(files).toEqual([secrets, secrets])
})

it('says which variables avatar up sets, and leaves out those that it takes from the environment', () => {
  const sentence = /It sets\s+(.*?) itself/s.exec(configuration['docs/configuration.md'] ?? '')?.[1]
  expect(sentence).toContain('`NATS_PASSWORD`')
  expect(sentence).toContain('`S3_ENDPOINT`')
  expect(sentence).not.toMatch(/ENGINE|HTTP_PORT|LOG_LEVEL|FFMPEG_PATH/)
})

it('each row of a table has the cells of its head', async () => {
  const files = execFileSync('git', ['ls-files', '*.md'], { cwd: root, encoding: 'utf8' })
  const paths = files.trim().split('\n')
  expect(paths).toContain('README.md')
  for (const path of paths) {
    const lines = (await readFile(join(root, path), 'utf8')).split('\n')
    let cells = 0
    for (const [at, line] of lines.entries()) {
      // An escaped bar stands within a cell.
      const bars = line.startsWith('|') ? (line.match(/(?<!\\)\|/g)?.length ?? 0) : 0
      if (cells > 0 && bars > 0) expect(bars, `${path}:${at + 1}`).toBe(cells)
      cells = bars
    }
  }
})
