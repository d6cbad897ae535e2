import type { StatusView } from '@avatar/contracts'
import { systemClock } from '@avatar/service-kit'
import type { CommandContext } from './command-context.ts'

const barCells = 28

/** Shows a job's progress: one changing line on a terminal, a line for each change elsewhere. */
export function progressDisplay({ stderr }: CommandContext) {
  let last = ''
  return {
    show(view: StatusView) {
      const line = describeProgress(view, systemClock.nowMs())
      if (line === last) return
      last = line
      stderr.write(stderr.isTTY ? `\r\u001b[2K${line}` : `${line}\n`)
    },
    end() {
      if (stderr.isTTY && last) stderr.write('\n')
    },
  }
}

/** One line: the bar, the stage, and the place in the queue or the time left where known. */
export function describeProgress(view: StatusView, nowMs: number): string {
  const filled = Math.round((view.progress / 100) * barCells)
  const bar = '█'.repeat(filled) + '░'.repeat(barCells - filled)
  const percent = `${Math.floor(view.progress)}%`.padStart(4)
  return [`${bar} ${percent}`, describeStage(view), describeTimeLeft(view, nowMs)]
    .filter(Boolean)
    .join('  ')
}

function describeStage({ stage, queue_position, waiting_for, attempt }: StatusView): string {
  const name = stage.replaceAll('_', ' ')
  if (waiting_for === 'own_jobs') return `${name}, waits for your other jobs`
  if (waiting_for === 'budget') return `${name}, waits because your budget is spent`
  if (queue_position !== null)
    return queue_position === 1 ? `${name}, next in the queue` : `${name}, place ${queue_position}`
  return attempt > 1 ? `${name} (attempt ${attempt})` : name
}

function describeTimeLeft(view: StatusView, nowMs: number): string {
  const seconds = secondsLeft(view, nowMs)
  if (seconds === undefined) return ''
  return seconds < 60
    ? `${seconds} s left`
    : `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s left`
}

/** From the server's estimate, and once that has passed from the pace of the render so far. */
function secondsLeft(view: StatusView, nowMs: number): number | undefined {
  if (view.status !== 'pending' && view.status !== 'processing') return undefined
  const estimateMs = Date.parse(view.estimated_completion_at ?? '') - nowMs
  if (estimateMs > 0) return Math.ceil(estimateMs / 1000)
  if (view.started_at === null || view.stage !== 'rendering' || view.progress < 5) return undefined
  const elapsedMs = nowMs - Date.parse(view.started_at)
  return Math.ceil((elapsedMs * (100 - view.progress)) / view.progress / 1000)
}
