import type { Release } from '@avatar/contracts'

/** How the command line ended. */
export type Ended = { exitCode: number; stdout: string; stderr: string }

/** Where the system runs. Everything here may be repeated. */
export type Platform = {
  readonly name: string
  /** Runs `avatar ARGS` as the operator, in the environment, by the release of `useCommandLine`. */
  avatar(args: readonly string[]): Promise<Ended>
  /** From here on the command line is that of this release. */
  useCommandLine(release: Release): Promise<void>
  /** Replaces the services and waits until they are ready. Workers of the platform keep their image. */
  deployServices(release: Release, workers: Release): Promise<void>
  /** Replaces the workers of the platform, if it has any. */
  deployWorkers(release: Release): Promise<void>
}

/** Where GPU workers are started on demand. */
export type ProviderApi = {
  readonly name: string
  findImage(): Promise<string>
  /** The next worker has it; one that is busy ends its drain first. */
  setImage(image: string): Promise<void>
}

/** Whether an image is ours. */
export type Verifier = {
  /** @throws StepError when the image was not signed by whom we trust */
  verify(image: string): Promise<void>
}

/** What the smoke job says about the system. */
export type Smoke = {
  /** @throws StepError when no correct video came out in time */
  renderOne(apiKey: string): Promise<string>
}

/** One run: what it is about, and with what it works. */
export type Deployment = {
  readonly target: Release
  /** What was installed when the run began; undefined at the very first. */
  readonly before: Release | undefined
  readonly way: 'applied' | 'rolled back'
  readonly platform: Platform
  readonly provider: ProviderApi | undefined
  readonly verifier: Verifier
  readonly smoke: Smoke
  /** A name that no other run has, for what a run leaves behind. */
  readonly stamp: string
  say(line: string): void
}

/** One step. Both halves may be repeated, and may have been cut off anywhere before. */
export type Step = {
  readonly name: string
  run(deployment: Deployment): Promise<void>
  /** Puts `before` back. Left out where there is nothing to put back. */
  undo?(deployment: Deployment, before: Release): Promise<void>
}

/** Why a step failed, for the person who released. */
export class StepError extends Error {
  override readonly name = 'StepError'
}

/** @throws StepError when the command fails */
export async function avatarOf({ platform }: Deployment, args: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await platform.avatar(args)
  if (exitCode === 0) return stdout
  throw new StepError(`avatar ${args.join(' ')} ended with ${exitCode}: ${stderr || stdout}`)
}
