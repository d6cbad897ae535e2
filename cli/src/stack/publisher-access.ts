import { notifyDomain } from '@avatar/contracts'
import { systemClock } from '@avatar/service-kit'
import { UserError } from '../exit-codes.ts'
import { connectTo } from '../system.ts'
import { type StackFile, storeOf } from './stack-file.ts'

/** A busy machine's broker may take its time to read a new configuration. */
const knownWithinMs = 30_000
const tryAgainMs = 250

/** The broker connects a new account to the services' only when it reloads once more. */
export async function untilHeard(
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
      await systemClock.wait(tryAgainMs)
    }
  } finally {
    await bus.stop()
  }
  throw new UserError('The broker did not take the publisher; see the lines of avatar up.')
}

/** The store reads its identities when it is told to, but says nothing about it. */
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
      const seen = await Promise.race([looksUp(), late]) // A store that hangs is not waited for.
      if (seen === 'late') break
      if (seen) return
      await systemClock.wait(tryAgainMs)
    }
  } finally {
    store.stop()
  }
  throw new UserError('The store did not take the publisher; see the lines of avatar up.')
}
