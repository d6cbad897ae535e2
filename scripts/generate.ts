/**
 * Writes every generated file, or with `--check` only compares and fails on a difference.
 *
 *   npm run generate            node scripts/generate.ts
 *   npm run generate -- --check
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { writeAlerts } from './generate/alerts.ts'
import { writeConfiguration } from './generate/configuration.ts'
import { writeDashboards } from './generate/dashboards.ts'
import type { GeneratedFiles } from './generate/generated-files.ts'
import { writeJobStates } from './generate/job-states.ts'
import { staleSchemaFiles, writeJsonSchemas } from './generate/json-schema.ts'
import { writeLimits } from './generate/limits.ts'
import { writeLogs } from './generate/logs.ts'
import { writeMetrics } from './generate/metrics.ts'
import { writePromises } from './generate/promises.ts'
import { writePythonContracts } from './generate/python-contracts.ts'
import { writePythonSecrets } from './generate/python-secrets.ts'

/** The table of contents: every generator of this repository, one file each in `generate/`. */
const generators: readonly (() => GeneratedFiles | Promise<GeneratedFiles>)[] = [
  // First, because the sidecar is asked for its configuration.
  writePythonSecrets, // inference-sidecar/src/inference_sidecar/foundation/secret_shapes.py
  writeJsonSchemas, // contracts/schema/*.json
  writeJobStates, // docs/job-states.md
  writeConfiguration, // .env.example, docs/configuration.md
  writeLogs, // docs/logs.md
  writeLimits, // README.md, docs/api.md
  writePromises, // README.md, docs/reliability.md
  writeAlerts, // deploy/observability/generated/*.yml, docs/alerts.md
  writeMetrics, // docs/metrics.md
  writePythonContracts, // inference-sidecar/src/inference_sidecar/foundation/contracts.py
  writeDashboards, // deploy/observability/generated/dashboards/*.json
]

const root = join(import.meta.dirname, '..')
const isCheck = process.argv.includes('--check')
const drifted: string[] = []

for (const generator of generators) {
  for (const [path, content] of Object.entries(await generator())) {
    const file = join(root, path)
    const current = await readFile(file, 'utf8').catch(() => undefined)
    if (current === content) continue
    drifted.push(path)
    if (isCheck) continue
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, content)
  }
}

for (const path of await staleSchemaFiles(root)) {
  drifted.push(path)
  if (!isCheck) await rm(join(root, path))
}

if (isCheck && drifted.length > 0) {
  process.stderr.write(
    `Generated files differ from their sources; run "npm run generate" and commit:\n` +
      drifted.map((path) => `  ${path}\n`).join(''),
  )
  process.exitCode = 1
} else {
  for (const path of drifted) process.stdout.write(`wrote ${path}\n`)
}
