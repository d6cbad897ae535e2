import { z } from 'zod'

/** Why the broker stores nothing. The sentence says what to do and names no path. */
export type StorageTrouble = { problem: 'disk_full' | 'disk_broken'; sentence: string }

const sentences = {
  disk_full:
    "The broker's disk is full. Make room on it; then the broker must be restarted, which " +
    '`avatar up` does by itself.',
  disk_broken:
    'The broker cannot write to its disk. Look at its log and repair the disk, then restart it.',
} as const

/** The broker's answer about its own health, as far as it matters here. */
const healthSchema = z.object({ data: z.object({ error: z.string().optional() }) })

/**
 * What the broker's health says about its storage: undefined for a broker that stores.
 *
 * A stream of NATS 2.15 whose write failed takes no other one until the broker is restarted. It lets each
 * publish time out, and only the broker's health tells why. The reason stays after there is room again.
 */
export function storageTrouble(health: unknown): StorageTrouble | undefined {
  return storageTroubleOf(healthSchema.safeParse(health).data?.data.error ?? '')
}

/** The same by the error text of the broker's `/healthz`. */
export function storageTroubleOf(error: string): StorageTrouble | undefined {
  if (/no space left|disk quota/i.test(error)) return trouble('disk_full')
  // A write that failed, or JetStream switched off, which the server does where its own files fail.
  if (/write error|jetstream[^']*(disabled|not (enabled|available))/i.test(error))
    return trouble('disk_broken')
  return undefined
}

function trouble(problem: StorageTrouble['problem']): StorageTrouble {
  return { problem, sentence: sentences[problem] }
}
