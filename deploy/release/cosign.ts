import { StepError, type Verifier } from './deployment.ts'
import type { Run } from './run-program.ts'

/** Who signs in GitHub's workflows. */
const issuer = 'https://token.actions.githubusercontent.com'

/** Images that a workflow of ours has signed, without a key that anybody could lose. */
export function cosignVerifier(run: Run, identity: string): Verifier {
  return {
    async verify(image) {
      const { exitCode, stderr } = await run([
        ...(['cosign', 'verify', '--certificate-identity-regexp', identity] as const),
        ...['--certificate-oidc-issuer', issuer, image],
      ])
      if (exitCode !== 0) throw new StepError(`${image} is not signed by ${identity}: ${stderr}`)
    },
  }
}

/** For an environment that says so: images of a registry of one's own. */
export const unsigned: Verifier = { verify: async () => {} }
