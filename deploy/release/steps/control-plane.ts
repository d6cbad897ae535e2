import type { Step } from '../deployment.ts'

/** Before the workers: the services answer workers of the release before, and the other way round not. */
export const controlPlane: Step = {
  name: 'control plane',
  run: ({ platform, target, before }) => platform.deployServices(target, before ?? target),
  undo: ({ platform }, before) => platform.deployServices(before, before),
}
