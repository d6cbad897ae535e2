import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { serviceNames } from '@avatar/contracts'
import { isSecret } from '@avatar/service-kit'
import { variablesSetByUp } from '../../cli/src/stack/settings.ts'
import { ingestConfigSchema } from '../../ingest/src/config.ts'
import { janitorConfigSchema } from '../../janitor/src/config.ts'
import { orchestratorConfigSchema } from '../../orchestrator/src/config.ts'
import type { GeneratedFiles } from './generated-files.ts'

/** Every service's schema; the same name means the same thing in each. */
const services = {
  ingest: ingestConfigSchema,
  orchestrator: orchestratorConfigSchema,
  janitor: janitorConfigSchema,
}

/** What one service reads; `fallback` is undefined where there is no default to show. */
type Reading = {
  name: string
  description: string
  fallback: string | undefined
  isRequired: boolean
  isSecret: boolean
  reader: string
}

/** One meaning of a name, with all its readers. */
type Variable = Omit<Reading, 'reader'> & { of: string[] }

/** `.env.example` and `docs/configuration.md`, from the schemas that parse the environment. */
export function writeConfiguration(): GeneratedFiles {
  const variables = collect([...readByServices(), ...readBySidecar()])
  return {
    '.env.example': envExample(variables),
    'docs/configuration.md': page(variables),
  }
}

function envExample(variables: readonly Variable[]): string {
  const names = [...new Set(variables.map(({ name }) => name))]
  const entries = names.map((name) => {
    const meanings = variables.filter((variable) => variable.name === name)
    const comments = meanings.map(
      ({ description, isSecret, of }) =>
        `# ${description} (${of.join(', ')})${isSecret ? `, or ${name}_FILE=/path/to/secret` : ''}`,
    )
    const isNeeded = meanings.some(({ isRequired, of }) => isRequired && !of.every(isEngine))
    const line = `${name}=${meanings[0]?.fallback ?? ''}`
    return [...comments, isNeeded ? line : `# ${line}`].join('\n')
  })
  return `# Written by npm run generate. Copy it to .env, which \`avatar up\` reads.
# What must be given stands uncommented. A comment shows the default, or nothing where there is none.

${entries.join('\n\n')}
`
}

function page(variables: readonly Variable[]): string {
  const rows = variables.map(({ name, description, fallback, isRequired, isSecret, of }) => {
    const names = isSecret ? `\`${name}\` or \`${name}_FILE\`` : `\`${name}\``
    const value = isRequired ? 'required' : fallback ? `\`${fallback}\`` : ''
    return `| ${names} | ${description} | ${value} | ${of.join(', ')} |`
  })
  const setByUp = new Set(serviceNames.flatMap((name) => variablesSetByUp(name).always))
  setByUp.delete('HTTP_PORT') // The port that the caller asks for is the one that it sets.
  const setItself = [...new Set(variables.map(({ name }) => name))].filter((name) =>
    setByUp.has(name),
  )
  return `# Configuration

Environment variables configure every process. A wrong value stops it at start with the list of everything that is wrong.
\`npm run generate\` writes this page and \`.env.example\` from the schemas that parse the environment.

- **Secrets** may come from files: where the table has \`NAME_FILE\`, set it to the path of a file that holds the value of \`NAME\`.
- **\`avatar up\`** reads the file \`.env\` at the root of the repository. It sets
  ${setItself.map((name) => `\`${name}\``).join(', ')} itself.
- **An engine's** own variables are read only when \`ENGINE\` names it.

| variable | what | default | read by |
| --- | --- | --- | --- |
${rows.join('\n')}
`
}

function isEngine(reader: string): boolean {
  return reader.startsWith('sidecar (')
}

/** One entry for each meaning of a name, beside the others of that name. */
function collect(readings: readonly Reading[]): Variable[] {
  const found = new Map<string, Variable[]>()
  for (const { reader, ...reading } of readings) {
    const meanings = found.get(reading.name) ?? []
    const known = meanings.find(({ description }) => description === reading.description)
    if (known) {
      known.of.push(reader)
      known.isRequired ||= reading.isRequired
      known.isSecret ||= reading.isSecret
    } else meanings.push({ ...reading, of: [reader] })
    found.set(reading.name, meanings)
  }
  return [...found.values()].flat()
}

function readByServices(): Reading[] {
  return Object.entries(services).flatMap(([reader, schema]) =>
    Object.entries(schema.shape).map(([name, field]) => {
      const parsed = field.safeParse(undefined)
      // A field that accepts nothing has a default, or may be left out.
      const given = parsed.success ? parsed.data : undefined
      return {
        name,
        description: field.description ?? '',
        fallback: given === undefined ? undefined : asWritten(given),
        isRequired: !parsed.success,
        isSecret: isSecret(field),
        reader,
      }
    }),
  )
}

/** The text that a default was parsed from; tables are empty by default. */
function asWritten(value: unknown): string {
  if (Array.isArray(value)) return value.join(',')
  return typeof value === 'object' ? '' : String(value)
}

/** The sidecar and its engines describe themselves. */
function readBySidecar(): Reading[] {
  const python = join(import.meta.dirname, '../../.venv/bin/python')
  const described = execFileSync(python, ['-m', 'inference_sidecar.describe_configuration'], {
    encoding: 'utf8',
  })
  type Description = Pick<Reading, 'name' | 'description' | 'reader'> & {
    fallback: string | null
    isRequired?: boolean
    isSecret?: boolean
  }
  const readings: Description[] = JSON.parse(described)
  return readings.map((reading) => ({
    isRequired: false,
    isSecret: false,
    ...reading,
    fallback: reading.fallback ?? undefined,
  }))
}
