import { avatarOf, type Step } from '../deployment.ts'

/** Stops before anything is changed when the new layout would lose what the broker holds. */
export const planProvision: Step = {
  name: 'plan',
  async run(deployment) {
    deployment.say(await avatarOf(deployment, ['system', 'provision', '--plan']))
  },
}
