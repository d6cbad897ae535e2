import { type Step, StepError } from '../deployment.ts'

/** The images are ours, and the release is next to the one that is installed. */
export const verify: Step = {
  name: 'verify',
  async run({ target, before, verifier }) {
    // Workers of before and after work side by side for a while.
    const apart = Math.abs(target.contracts - (before ?? target).contracts)
    if (apart > 1)
      throw new StepError(
        `contracts ${before?.contracts} and ${target.contracts} do not understand each other: install a release between them first`,
      )
    for (const image of new Set(Object.values(target.images))) await verifier.verify(image)
  },
}
