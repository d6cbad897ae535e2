/**
 * Writes every generated file, or with `--check` only compares and fails on a difference.
 *
 *   npm run generate            node scripts/generate.ts
 *   npm run generate -- --check
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { writeConfiguration } from './generate/configuration.ts'
import type { GeneratedFiles } from './generate/generated-files.ts'
import { writeJobStates } from './generate/job-states.ts'
import { staleSchemaFiles, writeJsonSchemas } from './generate/json-schema.ts'
import { writePythonContracts } from './generate/python-contracts.ts'

/** The table of contents: every generator of this repository, one file each in `generate/`. */
const generators: readonly (() => GeneratedFiles | Promise<GeneratedFiles>)[] = [
  writeJsonSchemas, // contracts/schema/*.json
  writeJobStates, // docs/job-states.md
  writeConfiguration, // .env.example, docs/configuration.md
  writePythonContracts, // inference-sidecar/src/inference_sidecar/foundation/contracts.py
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
