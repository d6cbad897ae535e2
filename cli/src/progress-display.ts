import type { StatusView } from '@avatar/contracts'
import type { CommandContext } from './command-context.ts'

const barCells = 28

/** Shows a job's way: one living line on a terminal, a line for each change elsewhere. */
export function progressDisplay({ stderr }: CommandContext, nowMs: () => number) {
  let last = ''
  return {
    show(view: StatusView) {
      const line = describeProgress(view, nowMs())
      if (line === last) return
      last = line
      stderr.write(stderr.isTTY ? `\r\u001b[2K${line}` : `${line}\n`)
    },
    end() {
      if (stderr.isTTY && last) stderr.write('\n')
    },
  }
}

/** One line: the bar, the stage, and what is known of place and time. */
export function describeProgress(view: StatusView, nowMs: number): string {
  const filled = Math.round((view.progress / 100) * barCells)
  const bar = '█'.repeat(filled) + '░'.repeat(barCells - filled)
  const percent = `${Math.floor(view.progress)}%`.padStart(4)
  return [`${bar} ${percent}`, describeStage(view), describeTimeLeft(view, nowMs)]
    .filter(Boolean)
    .join('  ')
}

function describeStage({ stage, queue_position, attempt }: StatusView): string {
  const name = stage.replaceAll('_', ' ')
  if (queue_position !== null)
    return queue_position === 1 ? `${name}, next in the queue` : `${name}, place ${queue_position}`
  return attempt > 1 ? `${name} (attempt ${attempt})` : name
}

function describeTimeLeft({ estimated_completion_at, status }: StatusView, nowMs: number): string {
  if (estimated_completion_at === null || (status !== 'pending' && status !== 'processing'))
    return ''
  const seconds = Math.max(0, Math.round((Date.parse(estimated_completion_at) - nowMs) / 1000))
  if (seconds < 1) return 'almost there'
  return seconds < 60
    ? `${seconds} s left`
    : `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s left`
}
