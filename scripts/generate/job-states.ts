import { jobMessages, jobStates, stateTable, transitions } from '@avatar/contracts'

/** `docs/job-states.md`: the state table of the contracts, for people to read. */
export function writeJobStates() {
  const states = jobStates.map((state) => {
    const { status, stage, meaning, outputs } = stateTable[state]
    return `| \`${state}\` | ${status} | ${stage} | ${meaning} | ${outputs} |`
  })
  const rows = jobMessages.map((message) => {
    const cells = jobStates.map((state) => {
      const { next, notes, answers } = transitions[state][message]
      const moves = next.filter((to) => to !== state)
      const kept = next.includes(state) && moves.length > 0 ? ' or stays' : ''
      const reply = answers ? ` (${answers.join(', ')})` : ''
      const noted = notes ? `notes \`${notes}\`` : '·'
      return `${moves.length > 0 ? `→ ${moves.join(', ')}${kept}` : noted}${reply}`
    })
    return `| \`${message}\` | ${cells.join(' | ')} |`
  })
  const page = `# Job states

Generated from \`contracts/src/job-states.ts\` by \`npm run generate\`. A test compares the table with the code that
decides (\`orchestrator/src/states/decide.ts\`).

| record | API status | stage | meaning | outputs, published again with every handled event |
| --- | --- | --- | --- | --- |
${states.join('\n')}

## What each message does

\`·\` changes nothing. "notes" writes that field, once, and keeps the state. Answers to requests are in brackets. A
message about an attempt under another epoch than the record's changes nothing; a \`store\` request is answered
\`lost\`, or \`drop\` if the job has ended.

| message | ${jobStates.join(' | ')} |
| --- |${' --- |'.repeat(jobStates.length)}
${rows.join('\n')}
`
  return { 'docs/job-states.md': page }
}
