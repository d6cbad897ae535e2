import { avatarOf, type Step } from '../deployment.ts'

/** The last step: until then, a run that is repeated starts from the same release. */
export const record: Step = {
  name: 'record',
  async run(deployment) {
    const { target, way } = deployment
    const args = ['system', 'release', '--note', JSON.stringify(target)]
    await avatarOf(deployment, way === 'rolled back' ? [...args, '--rolled-back'] : args)
  },
}
