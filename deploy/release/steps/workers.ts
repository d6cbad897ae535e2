import type { Release } from '@avatar/contracts'
import { type Deployment, type Step, StepError } from '../deployment.ts'

/** Longer than nearly every job: whoever still renders then leaves by itself. */
const drainWithinSeconds = 1800

/** New workers are of the new release, and the old ones leave after the job in hand. */
export const workers: Step = {
  name: 'workers',
  run: (deployment) => replace(deployment, deployment.target),
  undo: (deployment, before) => replace(deployment, before),
}

async function replace(deployment: Deployment, release: Release) {
  const { platform, provider } = deployment
  await platform.deployWorkers(release)
  // To write the same image again would be another rolling release of the endpoint.
  if (provider && (await provider.findImage()) !== release.images.gpu)
    await provider.setImage(release.images.gpu)
  const args = ['workers', 'drain', '--older', release.release]
  const within = ['--within', String(drainWithinSeconds), '--json']
  const { exitCode, stdout, stderr } = await platform.avatar([...args, ...within])
  const told: { workers: { worker_id: string; outcome: string }[] } | undefined =
    stdout === '' ? undefined : JSON.parse(stdout)
  if (!told) throw new StepError(`avatar ${args.join(' ')} ended with ${exitCode}: ${stderr}`)
  // Whoever fell silent is gone, too.
  const deaf = told.workers.filter(({ outcome }) => outcome === 'deaf')
  if (deaf.length > 0)
    throw new StepError(
      `${deaf.map(({ worker_id }) => worker_id).join(', ')} did not obey and takes jobs under another release`,
    )
  for (const { worker_id, outcome } of told.workers)
    if (outcome !== 'gone') deployment.say(`${worker_id}: ${outcome}`)
}
