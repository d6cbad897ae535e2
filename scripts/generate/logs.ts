import {
  type LogLine,
  levelOfBlame,
  linesOfAJob,
  logLevels,
  logLineMaxBytes,
  logLineSchema,
  secretShapes,
} from '@avatar/contracts'
import { z } from 'zod'
import type { GeneratedFiles } from './generated-files.ts'

/** `docs/logs.md`: what a line of the log may say, for those who search them. */
export function writeLogs(): GeneratedFiles {
  const keys = Object.entries<z.ZodType>(logLineSchema.shape).map(
    ([name, schema]) => `| \`${name}\` | ${describe(schema)} |`,
  )
  const blames = Object.groupBy(Object.entries(levelOfBlame), ([, level]) => level)
  const levels = Object.entries(logLevels)
    .toReversed()
    .map(([level, meaning]) => {
      const [[blame = ''] = []] = blames[level as keyof typeof blames] ?? [] // Only three levels have one.
      return `| \`${level}\` | ${meaning} | ${blame && `\`${blame}\``} |`
    })
  const said = linesOfAJob.map(([service, msg, when]) => `| ${service} | ${msg} | ${when} |`)
  const shapes = secretShapes.map(({ name }) => `- ${name}`)
  const page = `# Logs

Generated from \`contracts/src/log-line.ts\` and \`contracts/src/secrets.ts\` by \`npm run generate\`.

Whatever leaves a service, on standard output or standard error, is one JSON object a line, at most ${logLineMaxBytes / 1024} KB: an error that
nobody caught, a warning of Node or of a library, and a configuration that is refused, too. Of a line that is longer the stack is cut
first. The message is a constant sentence, so that it can be counted; what differs is in keys. \`avatar up\` shows the lines as sentences.

\`\`\`json
${JSON.stringify(example)}
\`\`\`

## Keys

The first four stand in every line, the others where they apply.

| key | what it is |
| --- | --- |
${keys.join('\n')}

## Levels

The failure table (\`contracts/src/failures.ts\`) says whom a failure blames, and that decides its level.

| level | what for | failures that blame |
| --- | --- | --- |
${levels.join('\n')}

The same failure of the same key or address, again and again, is one line; then, once a minute, one line with its \`count\`
(\`more requests failed alike\`). All of them are counted in \`infinitetalk_failures_total\`.

## What a job writes

At \`info\`, when all goes well, from the request to its deletion: ${linesOfAJob.length} lines, which its \`jobId\` and its \`traceId\` find.

| service | says | when |
| --- | --- | --- |
${said.join('\n')}

## What no line holds

Secrets become \`[redacted]\`, in lines, in dead letters and in what is told of failed renders: first every secret that the process was
given by its configuration, in whatever form (as it is, URL-encoded, in base64; from 8 characters on), then whatever looks like one:

${shapes.join('\n')}

Prompts, names of files and addresses of people are not logged at all. Owners appear by their id.
`
  return { 'docs/logs.md': page }
}

const example: LogLine = {
  level: 'warn',
  time: '2026-01-31T12:00:00.000Z',
  service: 'orchestrator',
  subject: 'evt.render.completed.0a1b…',
  traceId: '0af7651916cd43dd8448eb211c80319c',
  jobId: '0a1b…',
  attempt: 1,
  err: {
    type: 'AppError',
    message: 'Storage did not answer.',
    code: 'STORE_UNAVAILABLE',
    stack: '…',
  },
  code: 'STORE_UNAVAILABLE',
  blame: 'dependency',
  msg: 'message failed, it will be redelivered',
}

function describe(schema: z.ZodType): string {
  const inner = schema instanceof z.ZodOptional ? (schema.unwrap() as z.ZodType) : schema
  return inner.description ?? ''
}
