import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { writeConfiguration } from './configuration.ts'
import { writeJobStates } from './job-states.ts'

const root = join(import.meta.dirname, '../..')

it.each(Object.entries({ ...writeJobStates(), ...writeConfiguration() }))(
  '%s says what the code says',
  async (path, content) => {
    expect(await readFile(join(root, path), 'utf8')).toBe(content)
  },
)
