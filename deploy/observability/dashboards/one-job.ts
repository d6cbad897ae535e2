import { oneJobDashboard, spanAttributes } from '@avatar/contracts'
import { board } from './board.ts'
import { logGraph, logLines, traceList } from './panels.ts'

/** A job's id is no label: it would make a stream of each job. It is metadata of the line. */
const id = `"$${oneJobDashboard.variable}"`
const lines = `{service=~".+"} | jobId=${id}`

const ofJob = `span.${spanAttributes.jobId} = ${id}`

/** What happened to one job? */
export const oneJob = board({
  uid: oneJobDashboard.uid,
  title: 'Avatar: one job',
  description: 'What happened to one job? `avatar status JOB` prints the link.',
  asks: ['tempo', 'loki'],
  boxes: {
    [oneJobDashboard.variable]: {
      label: 'job',
      description: 'The id of a job, as /generate answered it.',
    },
  },
  from: 'now-24h',
  rows: {
    'What happened': [
      traceList({
        title: 'Traces',
        description:
          'The job’s trace, from the request to the last word about it, and after its retention that of ' +
          'its deletion. A search sees parts of a long trace: open it by its id to see it whole.',
        unit: 'none',
        ask: { traces: `{ ${ofJob} }` },
      }),
      traceList({
        title: 'What went wrong',
        description: 'Spans of this job that are marked as errors.',
        unit: 'none',
        ask: { errors: `{ ${ofJob} && status = error }` },
      }),
      logGraph({
        title: 'Lines by service',
        description: 'When who spoke of it. A gap is time in the queue, or in a render.',
        unit: 'none',
        ask: { '{{service}}': `sum by (service) (count_over_time(${lines} [$__auto]))` },
      }),
      logLines({
        title: 'Warnings and errors',
        description: 'What a service found worth a warning, or worse.',
        unit: 'none',
        width: 12,
        height: 7,
        ask: { lines: `{service=~".+", level=~"warn|error|fatal"} | jobId=${id}` },
      }),
      logLines({
        title: 'All lines',
        description:
          'Every line about the job, oldest first. Each leads to its trace by `traceId`.',
        unit: 'none',
        ask: { lines },
      }),
    ],
  },
})
