import type { JobRecord } from '@avatar/contracts'
import type { Delivery } from '@avatar/service-kit'

/** So often an event is put back that its record does not know. It may name what never was. */
const looks = 10

/**
 * Whether a record was read too early: every event follows the record and the attempt that it names. A leader that
 * was cut off answers reads for a moment until it hears of its successor, and does not have what that one wrote.
 */
export function isBehind(found: JobRecord | undefined, { epoch }: { epoch: number }): boolean {
  return found === undefined || epoch > found.epoch
}

/** Whether to look again later. */
export function mayCatchUp(
  found: JobRecord | undefined,
  event: { epoch: number },
  { deliveryCount }: Pick<Delivery, 'deliveryCount'>,
): boolean {
  return isBehind(found, event) && deliveryCount < looks
}
