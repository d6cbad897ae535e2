import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { jsonSchemas } from './generate/json-schema.ts'
import { pythonContracts } from './generate/python-contracts.ts'

/** Everything that is made from the contracts: path → content. */
const outputs = [jsonSchemas, pythonContracts]

const root = join(import.meta.dirname, '..')
const isCheck = process.argv.includes('--check')
let stale = 0

for (const make of outputs)
  for (const [path, content] of await make()) {
    const file = join(root, path)
    const current = await readFile(file, 'utf8').catch(() => undefined)
    if (current === content) continue
    stale++
    if (isCheck) {
      console.error(`${path} is not what the contracts say; run: npm run generate`)
      continue
    }
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, content)
    console.log(`wrote ${path}`)
  }

if (isCheck && stale > 0) process.exitCode = 1
