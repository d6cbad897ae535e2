import { buckets, schemaKey, schemaNumber, schemaRecordSchema } from '@avatar/contracts'
import { z } from 'zod'
import type { Bus } from './bus.ts'
import { type Clock, systemClock } from './clock.ts'

/** The exit code of a service on a broker whose layout is older than it needs. */
export const schemaTooOldExitCode = 3

const askAgainMs = 1_000
const answerWithinMs = 2_000
/** The broker's code for an unknown stream. */
const streamNotFound = 10_059

const infoSchema = z.object({ error: z.object({ err_code: z.int() }).optional() })

/**
 * Waits until the broker says which layout it holds. A later one than ours is fine: contracts only grow
 * within a release.
 *
 * @returns why the service must not start, or undefined when it may
 */
export async function schemaTrouble(
  bus: Bus,
  needed = schemaNumber,
  clock: Clock = systemClock,
): Promise<string | undefined> {
  for (let tries = 0; ; tries++) {
    const found = await lookUp(bus).catch(() => undefined)
    if (found === 'none')
      return `The broker is not provisioned: run \`avatar system provision\` (layout ${needed} is needed).`
    if (found !== undefined)
      return found >= needed
        ? undefined
        : `The broker holds layout ${found}, and this release needs ${needed}: run \`avatar system provision\` of this release.`
    if (tries % 10 === 0) bus.log.warn('waiting for the broker to tell its layout')
    await clock.wait(askAgainMs)
  }
}

/** The number of the layout; `none` where nothing was ever provisioned; undefined without an answer. */
async function lookUp(bus: Bus): Promise<number | 'none' | undefined> {
  const stream = `KV_${buckets.meta.name}`
  const answer = await bus.request(
    `$JS.API.STREAM.INFO.${stream}`,
    {},
    { timeoutMs: answerWithinMs },
  )
  const info = infoSchema.safeParse(answer).data
  if (!info) return undefined
  if (info.error) return info.error.err_code === streamNotFound ? 'none' : undefined
  const noted = await bus.lastMessage(stream, `$KV.${buckets.meta.name}.${schemaKey}`)
  return schemaRecordSchema.safeParse(noted?.body).data?.number ?? 'none'
}
