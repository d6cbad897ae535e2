import { avatarOf, type Step } from '../deployment.ts'

/** It has no undo: streams only grow within a release, and the one before accepts a later layout. */
export const provision: Step = {
  name: 'provision',
  async run(deployment) {
    await avatarOf(deployment, ['system', 'provision'])
  },
}
