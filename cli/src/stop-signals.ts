import { once } from 'node:events'
import type { Clock } from '@avatar/service-kit'

/** A terminal and npm both pass on one Ctrl-C; signals within this time count as one. */
const sameSignalMs = 1_000

const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Where signals come from: the process, or a test. */
export type SignalSource = {
  on(signal: NodeJS.Signals, listener: () => void): unknown
  removeListener(signal: NodeJS.Signals, listener: () => void): unknown
}

/** Listens for stop signals: the first Ctrl-C, SIGTERM or SIGHUP asks, a later one insists. */
export function listenForStop(signals: SignalSource, clock: Clock) {
  const requested = new AbortController()
  const insisted = new AbortController()
  let firstAtMs: number | undefined
  const onSignal = () => {
    firstAtMs ??= clock.monotonicMs()
    requested.abort()
    if (clock.monotonicMs() - firstAtMs > sameSignalMs) insisted.abort()
  }
  for (const signal of stopSignals) signals.on(signal, onSignal)
  return {
    /** Aborted by the first signal. */
    requested: requested.signal,
    /** Aborted by a signal that comes more than a second after the first. */
    insisted: insisted.signal,
    /** From here on signals have their default effect again. */
    forget() {
      for (const signal of stopSignals) signals.removeListener(signal, onSignal)
    },
  }
}

/** Resolves once the signal is aborted; at once if it already is. */
export async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort')
}
