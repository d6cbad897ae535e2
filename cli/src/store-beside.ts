import type { ObjectStore } from '@avatar/service-kit'
import { exitCodes, UserError } from './exit-codes.ts'
import type { DataFolder } from './stack/data-folder.ts'
import type { Environment } from './stack/settings.ts'
import { storeOf } from './stack/stack-file.ts'
import { findSystem, getStackFile, type System } from './system.ts'

/**
 * A system of this machine, and its bucket with the keys of its `stack.json`. Whoever asks stops the store.
 *
 * @throws UserError when the system is elsewhere, so that the keys are not at hand
 */
export async function findSystemWithStore(
  folder: string | undefined,
  env: Environment,
): Promise<{ system: System; data: DataFolder; store: ObjectStore }> {
  const system = await findSystem(folder, env)
  const { data } = system
  if (!data)
    throw new UserError(
      'The bucket can only be read beside the system: run it there, with --data.',
      exitCodes.usage,
    )
  return { system, data, store: storeOf((await getStackFile(data)).s3) }
}

/** The objects under a prefix and how old each is, by the store's own clock. */
export async function agesOf(
  store: ObjectStore,
  prefix: string,
): Promise<{ key: string; ageMs: number }[]> {
  const found: { key: string; ageMs: number }[] = []
  for await (const { key, modifiedAtMs, listedAtMs } of store.list(prefix))
    found.push({ key, ageMs: listedAtMs - modifiedAtMs })
  return found
}
