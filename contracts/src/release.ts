import { z } from 'zod'

/** An image of a registry, by its content: a tag may be moved. */
const imageSchema = z.string().regex(/^[a-z0-9][a-z0-9./:_-]*@sha256:[0-9a-f]{64}$/)

/** What is released together: `release.json`. */
export const releaseSchema = z.object({
  /** The version, as `RELEASE` in the images and in heartbeats. */
  release: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/),
  images: z.object({ services: imageSchema, preview: imageSchema, gpu: imageSchema }),
  /** `schemaNumber` of the release. */
  schema: z.int().positive(),
  /** `contractsNumber` of the release. */
  contracts: z.int().positive(),
})
export type Release = z.infer<typeof releaseSchema>

/** The key under which KV `meta` holds what is installed. */
export const releaseKey = 'release'

/** What is installed, and what was before it. */
export const releaseStateSchema = z.object({
  current: releaseSchema,
  previous: releaseSchema.optional(),
  /** The release that was given up for `current`, which has no `previous` then. */
  rolledBackFrom: z.string().optional(),
})
export type ReleaseState = z.infer<typeof releaseStateSchema>

/**
 * What is noted when a release has been installed. To note the same one again changes nothing, so that a run
 * that was cut off can be repeated.
 */
export function noteRelease(
  state: ReleaseState | undefined,
  release: Release,
  way: 'applied' | 'rolled back',
): ReleaseState {
  if (state?.current.release === release.release) return { ...state, current: release }
  if (way === 'rolled back' && state)
    return { current: release, rolledBackFrom: state.current.release }
  return { current: release, ...(state ? { previous: state.current } : {}) }
}
