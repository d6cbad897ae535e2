import { jobMessages, jobStates, stateTable, transitions } from '@avatar/contracts'

/** `docs/job-states.md`: the state table of the contracts, for people. */
export function writeJobStates() {
  const states = jobStates.map((state) => {
    const { status, stage, meaning, outputs } = stateTable[state]
    return `| \`${state}\` | ${status} | ${stage} | ${meaning} | ${outputs} |`
  })
  const rows = jobMessages.map((message) => {
    const cells = jobStates.map((state) => {
      const { next, answers } = transitions[state][message]
      const moves = next.filter((to) => to !== state)
      const kept = next.includes(state) && moves.length > 0 ? ' or stays' : ''
      const reply = answers ? ` (${answers.join(', ')})` : ''
      return `${moves.length > 0 ? `→ ${moves.join(', ')}${kept}` : '·'}${reply}`
    })
    return `| \`${message}\` | ${cells.join(' | ')} |`
  })
  const page = `# Job states

\`npm run generate\` writes this page from \`contracts/src/job-states.ts\`. A test compares the table with the code that
decides (\`orchestrator/src/decide.ts\`).

| record | API status | stage | meaning | outputs, published again with every handled event |
| --- | --- | --- | --- | --- |
${states.join('\n')}

## What each message does

\`·\` keeps the state; replies to requests stand in brackets. Two messages write to the record without changing the state:
\`completed\` in \`storing\` notes the uploaded video, and \`deleted\` the time at which the media were deleted. A worker's
message with another epoch than the record's changes nothing in any state; the reply to it is \`lost\`.

| message | ${jobStates.join(' | ')} |
| --- |${' --- |'.repeat(jobStates.length)}
${rows.join('\n')}
`
  return { 'docs/job-states.md': page }
}
