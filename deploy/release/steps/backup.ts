import { avatarOf, type Step } from '../deployment.ts'

/** Whatever happens, what the broker holds is there. A run that is repeated makes another one. */
export const backup: Step = {
  name: 'backup',
  async run(deployment) {
    await avatarOf(deployment, ['system', 'backup', `/backups/${deployment.stamp}`])
  },
}
