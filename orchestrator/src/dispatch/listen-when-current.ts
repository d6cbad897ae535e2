import { background, type Foundation, type Runnable } from '@avatar/service-kit'

/**
 * Starts to listen once the view of all jobs is current, or some time after the start: a choice among half
 * the jobs would be wrong, and no choice at all would be worse. Until then the broker tells whoever asks
 * that nobody listens.
 */
export function listenWhenCurrent(
  deps: Pick<Foundation, 'clock' | 'log' | 'timings'> & {
    isCurrent: () => boolean
    listener: Runnable
  },
): Runnable {
  const { clock, log, timings, isCurrent, listener } = deps
  let startedAtMs = 0
  let isListening = false

  const wait = background({
    ...deps,
    name: 'wait for a current view',
    everyMs: timings.listenAfterMs / 150,
    async pass() {
      if (isListening) return
      const isLate = clock.monotonicMs() - startedAtMs >= timings.listenAfterMs
      if (!isCurrent() && !isLate) return
      if (!isCurrent()) log.warn('answering asks before all records are read')
      isListening = true
      await listener.start()
    },
  })
  return {
    ...wait,
    async start() {
      startedAtMs = clock.monotonicMs()
      await wait.start()
    },
    async stop() {
      await wait.stop()
      await listener.stop()
      isListening = false
    },
    isReady: () => isListening,
  }
}
