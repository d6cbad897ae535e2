import { type Release, releaseSchema } from '@avatar/contracts'
import { z } from 'zod'
import type { Deployment, Platform } from './deployment.ts'
import { applySteps, rollbackSteps } from './plan.ts'
import { runSteps } from './run-steps.ts'

/** What both ways work with. */
export type Tools = Omit<Deployment, 'target' | 'before' | 'way'>

const stateSchema = z.object({
  current: releaseSchema.nullable(),
  previous: releaseSchema.nullable(),
  rolled_back_from: z.string().nullable(),
})

/** Nothing that a rollback could return to. */
export class NoPreviousRelease extends Error {
  override readonly name = 'NoPreviousRelease'
}

/** Installs a release. To install the one that is there checks everything again and changes nothing. */
export async function apply(target: Release, tools: Tools): Promise<void> {
  const { current } = await installed(tools.platform)
  const deployment = { ...tools, target, before: current ?? undefined, way: 'applied' } as const
  await runSteps(applySteps, deployment)
}

/**
 * Returns to the release before. A repetition does nothing: one would be back where one came from.
 *
 * @throws NoPreviousRelease when none is noted
 */
export async function rollback(tools: Tools): Promise<void> {
  const { current, previous, rolled_back_from } = await installed(tools.platform)
  if (current && rolled_back_from !== null) {
    tools.say(`${current.release} is installed; ${rolled_back_from} was given up for it before.`)
    return
  }
  if (!current || !previous) throw new NoPreviousRelease('no release before this one is noted')
  const deployment = { ...tools, target: previous, before: current, way: 'rolled back' } as const
  await runSteps(rollbackSteps, deployment)
}

async function installed(platform: Platform) {
  const { exitCode, stdout, stderr } = await platform.avatar(['system', 'release', '--json'])
  if (exitCode !== 0) throw new Error(`the system did not say what is installed: ${stderr}`)
  return stateSchema.parse(JSON.parse(stdout))
}
