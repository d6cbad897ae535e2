import {
  buckets,
  noteRelease,
  type Release,
  type ReleaseState,
  releaseKey,
  releaseSchema,
  releaseStateSchema,
} from '@avatar/contracts'
import type { Bus } from '@avatar/service-kit'
import type { CommandContext } from '../command-context.ts'
import { exitCodes, UserError } from '../exit-codes.ts'
import { asOperator, findSystem } from '../system.ts'

export type ReleaseOptions = { data?: string; json?: boolean; note?: string; rolledBack?: boolean }

/**
 * `avatar system release`: what is installed, as the broker remembers it. With `--note` it is noted; to note
 * the same release twice is the same as once.
 */
export async function release(options: ReleaseOptions, { env, stdout }: CommandContext) {
  const { note, rolledBack = false } = options
  if (rolledBack && note === undefined)
    throw new UserError('--rolled-back goes with --note.', exitCodes.usage)
  const noted = note === undefined ? undefined : parseRelease(note)
  const state = await asOperator(await findSystem(options.data, env), (bus) =>
    noted ? change(bus, noted, rolledBack ? 'rolled back' : 'applied') : find(bus),
  )
  stdout.write(options.json ? `${JSON.stringify(view(state))}\n` : describe(state))
}

function parseRelease(text: string): Release {
  try {
    return releaseSchema.parse(JSON.parse(text))
  } catch (cause) {
    const error = new UserError(`--note is no release: ${text}`, exitCodes.usage)
    error.cause = cause
    throw error
  }
}

async function find(bus: Bus): Promise<ReleaseState | undefined> {
  const records = await bus.records(buckets.meta, releaseStateSchema)
  return (await records.find(releaseKey))?.value
}

async function change(
  bus: Bus,
  noted: Release,
  way: 'applied' | 'rolled back',
): Promise<ReleaseState> {
  const records = await bus.records(buckets.meta, releaseStateSchema)
  for (;;) {
    const found = await records.find(releaseKey)
    const state = noteRelease(found?.value, noted, way)
    const written = found
      ? await records.update(releaseKey, state, found.revision)
      : await records.create(releaseKey, state)
    if (written !== 'conflict' && written !== 'exists') return state
  }
}

function view(state: ReleaseState | undefined) {
  return {
    current: state?.current ?? null,
    previous: state?.previous ?? null,
    rolled_back_from: state?.rolledBackFrom ?? null,
  }
}

function describe(state: ReleaseState | undefined): string {
  if (!state) return 'No release was noted here.\n'
  const { current, previous, rolledBackFrom } = state
  return [
    `${current.release} is installed`,
    previous && `, before it ${previous.release}`,
    rolledBackFrom && `, after ${rolledBackFrom} was given up`,
    '.\n',
  ]
    .filter(Boolean)
    .join('')
}
