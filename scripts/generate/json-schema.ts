import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { wireSchemas } from '@avatar/contracts'
import { z } from 'zod'
import type { GeneratedFiles } from './generated-files.ts'

const folder = 'contracts/schema'

/** JSON Schema (draft 2020-12) of every wire shape. Readers ignore unknown fields, so the schemas allow them. */
export function writeJsonSchemas(): GeneratedFiles {
  return Object.fromEntries(
    Object.entries(wireSchemas).map(([name, schema]) => {
      const json = z.toJSONSchema(schema, { target: 'draft-2020-12', io: 'input' })
      return [`${folder}/${name}.json`, `${JSON.stringify(json, null, 2)}\n`]
    }),
  )
}

/** Schema files whose shape is gone. */
export async function staleSchemaFiles(root: string): Promise<string[]> {
  const files = await readdir(join(root, folder)).catch(() => [])
  return files
    .filter((file) => !(file.replace(/\.json$/, '') in wireSchemas))
    .map((file) => `${folder}/${file}`)
}
