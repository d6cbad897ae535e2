import type { Deployment, Step } from './deployment.ts'

/** A step failed. What it and those before it had done is undone, but for `notUndone`. */
export class ReleaseFailed extends Error {
  override readonly name = 'ReleaseFailed'
  readonly step: string
  readonly notUndone: readonly string[]

  constructor(step: string, cause: unknown, notUndone: readonly string[]) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    super(
      [`${step} failed: ${reason}`, notUndone.length > 0 && `not undone: ${notUndone.join('; ')}`]
        .filter(Boolean)
        .join('\n'),
      { cause },
    )
    this.step = step
    this.notUndone = notUndone
  }
}

/** Takes the steps in their order. @throws ReleaseFailed after it has undone what it had done */
export async function runSteps(steps: readonly Step[], deployment: Deployment): Promise<void> {
  for (const [at, step] of steps.entries()) {
    deployment.say(`${step.name} …`)
    try {
      await step.run(deployment)
    } catch (error) {
      deployment.say(`${step.name} failed: ${error instanceof Error ? error.message : error}`)
      // The step that failed may have done half of it.
      throw new ReleaseFailed(step.name, error, await undo(steps.slice(0, at + 1), deployment))
    }
  }
}

/** @returns what could not be undone, and why */
async function undo(steps: readonly Step[], deployment: Deployment): Promise<string[]> {
  const { before } = deployment
  const failed: string[] = []
  for (const step of steps.toReversed()) {
    if (!step.undo) continue
    if (!before) {
      failed.push(`${step.name}: no release was noted here before`)
      continue
    }
    deployment.say(`undoing ${step.name} …`)
    try {
      await step.undo(deployment, before)
    } catch (error) {
      // The steps before it are still worth undoing.
      failed.push(`${step.name}: ${error instanceof Error ? error.message : error}`)
    }
  }
  return failed
}
