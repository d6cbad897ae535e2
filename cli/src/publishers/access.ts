import { notifyDomain } from '@avatar/contracts'
import { systemClock } from '@avatar/service-kit'
import { UserError } from '../exit-codes.ts'
import { type StackFile, storeOf } from '../stack/stack-file.ts'
import { connectTo } from '../system.ts'

/** On a busy machine a broker can be slow to read a new configuration. */
const knownWithinMs = 30_000
const retryEveryMs = 250

/** Reloads the broker until the publisher reaches its consumer: imports work only after a second reload. */
export async function untilKnown(
  nats: { url: string; user: string; password: string },
  reload: () => Promise<void>,
): Promise<void> {
  await reload()
  const bus = await connectTo(nats, knownWithinMs)
  const ask = `$JS.${notifyDomain}.API.CONSUMER.INFO.NOTIFY.${nats.user}`
  const deadlineMs = systemClock.monotonicMs() + knownWithinMs
  try {
    while (systemClock.monotonicMs() < deadlineMs) {
      if (await bus.request(ask, {}, { timeoutMs: 1_000 })) return
      await reload()
      await systemClock.wait(retryEveryMs)
    }
  } finally {
    await bus.stop()
  }
  throw new UserError('The broker did not take the publisher; see the lines of avatar up.')
}

/** Waits until the store accepts the publisher. The store does not report that it has reloaded. */
export async function untilServed(s3: StackFile['s3'] & { prefix: string }): Promise<void> {
  const store = storeOf(s3)
  const looksUp = () =>
    store.getFile(`${s3.prefix}none`, '/dev/null', 1).then(
      () => true,
      () => false,
    )
  const late = systemClock.wait(knownWithinMs).then(() => 'late' as const)
  try {
    for (;;) {
      const seen = await Promise.race([looksUp(), late]) // Do not wait for a store that hangs.
      if (seen === 'late') break
      if (seen) return
      await systemClock.wait(retryEveryMs)
    }
  } finally {
    store.stop()
  }
  throw new UserError('The store did not take the publisher; see the lines of avatar up.')
}
